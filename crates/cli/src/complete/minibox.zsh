#compdef minibox
# zsh completion for minibox; made to be read by `source <(minibox completion zsh)` too.

_minibox() {
    local line files
    local -a candidates open
    for line in "${(@f)$(minibox __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
        case $line in
            '') ;;
            :files) files='_files' ;;
            :folders) files='_files -/' ;;
            # A name to which more is to be added at once.
            *[:=]$'\t'*) open+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
            *) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    local found=1
    if (( $#candidates )); then _describe -t minibox minibox candidates && found=0; fi
    if (( $#open )); then _describe -t minibox minibox open -S '' && found=0; fi
    if [[ -n $files ]]; then
        [[ $PREFIX == --*=* ]] && compset -P '*='
        ${=files} && found=0
    fi
    return found
}

if [[ ${funcstack[1]} == _minibox ]]; then _minibox "$@"; else compdef _minibox minibox; fi
