#!/usr/bin/env bash
# Takes away what deploy.sh has started; data only when that is asked for.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=deploy/docker.sh
source deploy/docker.sh

usage() {
    cat <<'END'
Usage: ./cleanup.sh [--yes] [--volumes] [--images]

Stops and removes the containers and their network. Without --yes it asks before each step; with it, it does exactly what
the other options say.

  --yes       do not ask
  --volumes   also delete all data: the database, the local store, pgAdmin, Prometheus and Grafana
  --images    also delete the images, which are built or pulled again when they are needed
  --help      this text

.env is never deleted. Exit codes: 0 done, 1 something failed or was declined, 2 wrong usage.
END
}

main() {
    local yes=no volumes="" images=""
    while (($#)); do
        case "$1" in
            -y | --yes) yes=yes ;;
            --volumes) volumes=yes ;;
            --images) images=yes ;;
            -h | --help) usage && return ;;
            *) usage >&2 && die 2 "$1 is not an option" ;;
        esac
        shift
    done
    find_docker
    if [[ $yes == no ]]; then
        agrees "Stop and remove the containers?" || die 1 "nothing was done"
        if agrees "Delete all data too: the database, the local store, pgAdmin, Prometheus and Grafana?"; then
            volumes=yes
        else
            volumes=""
        fi
        if agrees "Delete the images too?"; then images=yes; else images=""; fi
    fi
    remove "$volumes" "$images"
}

# Asks until the answer is yes or no, in any case, or its first letter; no answer is no.
agrees() {
    local answer
    while :; do
        printf '%s [yes/no] ' "$1"
        read -r answer || { printf '\n' && return 1; }
        case "${answer,,}" in
            y | yes) return 0 ;;
            n | no | "") return 1 ;;
        esac
        printf 'Please answer yes or no.\n'
    done
}

remove() {
    local options=(--remove-orphans)
    [[ -n $1 ]] && options+=(--volumes)
    [[ -n $2 ]] && options+=(--rmi all)
    # Compose wants the passwords even to remove; which ones does not matter.
    export DB_PASSWORD=unused PGADMIN_DEFAULT_PASSWORD=unused GRAFANA_ADMIN_PASSWORD=unused
    compose down "${options[@]}" || die 1 "not everything was removed: the lines above say why"
    say "the containers are gone"
    if [[ -n $1 ]]; then say "the data is gone"; else say "the data is kept: ./deploy.sh goes on with it"; fi
    if [[ -n $2 ]]; then say "the images are gone"; fi
}

main "$@"
