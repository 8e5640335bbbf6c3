# Completes `boucle` in bash. Made by: boucle completion bash
_boucle() {
    local line current="${COMP_WORDS[COMP_CWORD]}"
    [[ $current == "=" ]] && current=""
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :folders*) compopt -o filenames; while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -d -- "$current") ;;
            :files*) compopt -o filenames; while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current") ;;
            ?*) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <(_BOUCLE_COMPLETE=bash "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _boucle boucle
