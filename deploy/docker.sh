# shellcheck shell=bash
# What deploy.sh and cleanup.sh share: finding Docker, asking settings, talking.

say() {
    printf '%s\n' "$*"
}

warn() {
    printf 'warning: %s\n' "$*" >&2
}

# die CODE WORDS...
die() {
    local code=$1
    shift
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit "$code"
}

((BASH_VERSINFO[0] >= 4)) || die 1 "bash $BASH_VERSION is too old: 4 or later is needed"

# Sets DOCKER, and COMPOSE to the command that speaks Docker Compose 2: the plugin, else the program of its own.
find_docker() {
    DOCKER=${DOCKER:-docker}
    command -v "$DOCKER" >/dev/null || die 1 "there is no docker command: install Docker, https://docs.docker.com/engine/install/"
    if "$DOCKER" compose version >/dev/null 2>&1; then
        COMPOSE=("$DOCKER" compose)
    elif command -v docker-compose >/dev/null; then
        COMPOSE=(docker-compose)
    else
        die 1 "there is no Docker Compose: install its plugin, https://docs.docker.com/compose/install/"
    fi
}

compose() {
    "${COMPOSE[@]}" "$@"
}

# setting NAME [DEFAULT]: as Compose sees it, so the environment comes before .env, and comments and quotes are not part of it.
setting() {
    local value=${!1-}
    if [[ -z $value ]]; then
        value=$(written "$1")
        value=${value%$'\r'}
        case "$value" in
            \'*) value=${value:1} value=${value%%\'*} ;;
            \"*) value=${value:1} value=${value%%\"*} ;;
            *) value=${value%%[[:space:]]#*} value=${value%"${value##*[![:space:]]}"} ;;
        esac
    fi
    printf '%s' "${value:-${2-}}"
}

# What stands in .env after NAME=, as it stands there.
written() {
    [[ -r .env ]] || return 0
    sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*//p" .env | tail -n 1
}

# What Compose puts before the names of volumes.
project_name() {
    local name
    name=$(setting COMPOSE_PROJECT_NAME)
    printf '%s' "${name:-$(sed -n 's/^name: *//p' docker-compose.yml)}"
}
