# SPDX-License-Identifier: MIT
# bash completion for baton.
#
# Commands, options and settings are asked of the program on the line (`baton help ...`), so they are never older than
# it; only what an option's value may be is written here. bash splits words at `=` and `:`, so NAME=on is three of them.

_baton_ask() {
    local program=${COMP_WORDS[0]/#\~/$HOME}

    "$program" help "$@" 2>/dev/null
}

_baton_commands() {
    _baton_ask | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'
}

_baton_options() {
    _baton_ask "$1" | awk '
        /^Usage:/ { count = split($0, words, /[][ ]+/)
                    for (i = 1; i <= count; i++) if (words[i] ~ /^--[a-z]/) print words[i] }
        /^  --/   { print $1 }
        END       { print "--help" }'
}

_baton_settings() {
    _baton_ask set | sed -n 's/^  \([a-z][a-z-]*=\).*/\1/p'
}

# Offers the words that begin as the current one does.
_baton_offer() {
    local IFS=$' \t\n'

    COMPREPLY+=($(compgen -W "$1" -- "$2"))
}

_baton_files() {
    compopt -o filenames 2>/dev/null
    local IFS=$'\n'

    COMPREPLY+=($(compgen -f -- "$1"))
}

_baton_uri() {
    compopt -o nospace 2>/dev/null
    _baton_offer "tcp: unix: $2" "$1"
}

# The value of option $1, begun as $2; fails if the option has none that can be offered or typed.
_baton_value() {
    case $1 in
    --qmp | --kernel | --initrd) _baton_files "$2" ;;
    --firmware) _baton_offer none "$2"; _baton_files "$2" ;;
    --console) _baton_offer "stdio none" "$2"; _baton_files "$2" ;;
    --monitor) _baton_offer stdio "$2"; _baton_files "$2" ;;
    --machine) _baton_offer virt "$2" ;;
    --faults) _baton_offer "auto userfaultfd software" "$2" ;;
    --memory-backend) _baton_offer "anon memfd hugetlb" "$2" ;;
    --incoming) _baton_uri "$2" defer ;;
    --memory | --cpus | --append | --timeout) ;;
    *) return 1 ;;
    esac
}

_baton() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local command=${COMP_WORDS[1]} name=

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _baton_offer "$(_baton_commands) --help --version" "$current"
        return
    fi
    if [[ $command == help ]]; then
        ((COMP_CWORD == 2)) && _baton_offer "$(_baton_commands)" "$current"
        return
    fi
    if [[ $current == = || $current == : ]]; then
        name=$before before=$current current=
    elif [[ $before == = || $before == : ]]; then
        name=${COMP_WORDS[COMP_CWORD-2]}
    fi
    case $before in
    :)
        [[ $name == unix ]] && _baton_files "$current"
        return
        ;;
    =)
        if [[ $name == --* ]]; then
            _baton_value "$name" "$current"
        elif [[ $command == set ]]; then
            case $(_baton_ask set | sed -n "s/^  $name=\([^ ]*\).*/\1/p") in
            'on|off') _baton_offer "on off" "$current" ;;
            esac
        fi
        return
        ;;
    esac
    _baton_value "$before" "$current" && return
    if [[ $current == -* ]]; then
        _baton_offer "$(_baton_options "$command")" "$current"
        return
    fi
    case $command in
    set)
        compopt -o nospace 2>/dev/null
        _baton_offer "$(_baton_settings)" "$current"
        ;;
    migrate | recover | incoming) _baton_uri "$current" ;;
    esac
    [[ -z $current ]] && _baton_offer "$(_baton_options "$command")" ""
    return 0
}

complete -F _baton baton
