# Completes `boucle` in fish. Made by: boucle completion fish
function __boucle_complete
    set -l tokens (commandline -opc)
    set -l current (commandline -ct)
    set -l program $tokens[1]
    set -e tokens[1]
    for line in (env _BOUCLE_COMPLETE=fish $program $tokens "$current" 2>/dev/null)
        switch $line
            case ':folders*'
                __fish_complete_directories "$current"
            case ':files*'
                __fish_complete_path "$current"
            case '*'
                echo $line
        end
    end
end
complete -c boucle -f -a '(__boucle_complete)'
