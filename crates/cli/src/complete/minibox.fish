# fish completion for minibox; made to be read by `minibox completion fish | source` too.

function __minibox_complete
    set -l word (commandline --current-token)
    set -l words (commandline --tokenize --current-process --cut-at-cursor)
    set --erase words[1]
    for line in (minibox __complete $words "$word" 2>/dev/null)
        switch $line
            case :files :folders
                set -l option (string match --regex -- '^--[^=]*=' "$word")
                set -l typed (string replace -- "$option" '' "$word")
                set -l paths (test $line = :files; and __fish_complete_path "$typed"; or __fish_complete_directories "$typed")
                for path in $paths
                    echo "$option$path"
                end
            case '*'
                echo $line
        end
    end
end

complete --command minibox --no-files --arguments '(__minibox_complete)'
