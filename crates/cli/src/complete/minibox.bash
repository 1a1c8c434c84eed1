# bash completion for minibox; made to be read by `source <(minibox completion bash)` too.

_minibox() {
    local line=${COMP_LINE:0:COMP_POINT} words=() last='' word before candidate i
    # bash parts words at = and : as well: what stands together on the line is one word to minibox.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $line != [[:space:]]* && $i -gt 0 ]]; then
            before+=$last
        else
            [[ $i -gt 0 ]] && words+=("$before$last")
            before=''
        fi
        line=${line#"${line%%[![:space:]]*}"}
        [[ $i -eq $COMP_CWORD ]] && word=$line
        line=${line#"$word"}
        last=$word
    done
    [[ $last == [=:] ]] && before+=$last last=''

    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        case $candidate in
            :folders) compopt -o dirnames ;;
            # Last: readline's own way with files, unless there are other candidates beside them.
            :files)
                if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
                    compopt -o default
                else
                    while IFS= read -r candidate; do
                        [[ -d $candidate ]] && candidate+=/
                        COMPREPLY+=("$(printf %q "$candidate")")
                    done < <(compgen -f -- "$last")
                fi
                ;;
            *) COMPREPLY+=("${candidate#"$before"}") ;;
        esac
    done < <(minibox __complete "${words[@]:1}" "$before$last" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:=/] ]] && compopt -o nospace
}

complete -F _minibox minibox
