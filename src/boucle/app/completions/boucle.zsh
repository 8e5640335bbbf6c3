#compdef boucle
# Completes `boucle` in zsh. Made by: boucle completion zsh
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u }
_boucle() {
    local line
    local -a found
    for line in "${(@f)$(_BOUCLE_COMPLETE=zsh ${words[1]} "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            (:folders*) _files -/ ;;
            (:files*) _files ;;
            (?*) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    (( $#found )) && _describe -V boucle found
}
compdef _boucle boucle
