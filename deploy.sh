#!/usr/bin/env bash
# Brings the whole system up on this machine, or up to date: safe to run again at any time. docs/deployment.md explains it.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=deploy/docker.sh
source deploy/docker.sh

readonly LEAST_DOCKER=20.10 LEAST_COMPOSE=2.20
# shellcheck disable=SC2016  # a template of Docker's
readonly HEALTH='{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{if .State.Running}} without a health check{{end}}{{end}}'
readonly SECRETS=(DB_PASSWORD PGADMIN_DEFAULT_PASSWORD GRAFANA_ADMIN_PASSWORD CONTROL_TOKEN)
readonly SECRET_LENGTH=32 SHORT=20

usage() {
    cat <<'END'
Usage: ./deploy.sh [--no-build] [SERVICE...]

Checks Docker and the configuration, makes .env with new passwords where there is none, builds the image, sets up the
database and starts the services (all of docker-compose.yml, or those named and what they need), then waits until they
say that they are healthy.

  --no-build   take the image that is there (CANDLEWICK_IMAGE)
  --help       this text

Exit codes: 0 everything is healthy, 1 something failed, 2 wrong usage or configuration.
END
}

main() {
    local build=yes services=()
    while (($#)); do
        case "$1" in
            --no-build) build=no ;;
            -h | --help) usage && return ;;
            -*) usage >&2 && die 2 "$1 is not an option" ;;
            *) services+=("$1") ;;
        esac
        shift
    done
    find_docker
    check_versions
    make_env
    check_env
    if ((${#services[@]} == 0)); then
        mapfile -t services < <(compose config --services)
    fi
    if [[ $build == yes ]]; then
        say "building the image"
        compose build feeder || die 1 "the image was not built: the lines above say why"
    fi
    check_settings
    set_up_database
    start "${services[@]}"
    await_health "${services[@]}"
    check_schema
    show_places "${services[@]}"
}

check_versions() {
    local docker compose
    docker=$("$DOCKER" version --format '{{.Server.Version}}' 2>/dev/null) ||
        die 1 "Docker does not answer: is it running, and may $(id -un) use it? (try: docker version)"
    compose=$(compose version --short)
    is_least "$LEAST_DOCKER" "$docker" || die 1 "Docker $docker is too old: $LEAST_DOCKER or later is needed"
    is_least "$LEAST_COMPOSE" "${compose#v}" || die 1 "Docker Compose $compose is too old: $LEAST_COMPOSE or later is needed"
}

is_least() {
    [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]
}

make_env() {
    [[ -e .env ]] && return
    local project volume
    project=$(project_name)
    volume=$("$DOCKER" volume ls --quiet --filter "label=com.docker.compose.project=$project" \
        --filter label=com.docker.compose.volume=timescaledb-data)
    if [[ -n $volume ]]; then
        die 2 "there is no .env, but the volume $volume has a database with the password of an earlier one: put that .env" \
            "back, or delete the data with ./cleanup.sh --volumes"
    fi
    local line name
    (
        umask 077
        while IFS= read -r line || [[ -n $line ]]; do
            name=${line%%=*}
            if [[ $line == "$name=" && " ${SECRETS[*]} " == *" $name "* ]]; then
                line="$name=$(new_secret)"
            fi
            printf '%s\n' "$line"
        done <.env.example >.env.new
        mv .env.new .env
    )
    say "made .env with new passwords; keep a copy of it in a safe place"
}

new_secret() {
    local secret=""
    while ((${#secret} < SECRET_LENGTH)); do
        secret+=$(head -c 64 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9')
    done
    printf '%s' "${secret:0:SECRET_LENGTH}"
}

check_env() {
    local name length empty=()
    [[ -r .env ]] || die 2 ".env cannot be read by $(id -un)"
    chmod 600 .env 2>/dev/null || warn ".env belongs to somebody else: see to it that only they can read it"
    for name in "${SECRETS[@]}" POSTGRES_PASSWORD PGADMIN_PASSWORD; do
        is_literal "$(written "$name")" ||
            die 2 "$name in .env has a \$, which Compose takes for the name of a variable: put the value in single quotes"
    done
    agree FEEDER_PORT HEALTH_CHECK_PORT
    agree PGADMIN_DEFAULT_PASSWORD PGADMIN_PASSWORD
    [[ $(setting DEPLOY_TIMEOUT_S 300) =~ ^[0-9]+$ ]] || die 2 "DEPLOY_TIMEOUT_S is not a number of seconds"
    for name in "DB_PASSWORD POSTGRES_PASSWORD" "PGADMIN_DEFAULT_PASSWORD PGADMIN_PASSWORD" GRAFANA_ADMIN_PASSWORD; do
        # shellcheck disable=SC2086  # a setting and its other name, as two words
        length=$(length_of $name)
        if ((length == 0)); then
            empty+=("${name%% *}")
        elif ((length < SHORT)); then
            warn "${name%% *} has $length characters: use $SHORT or more"
        fi
    done
    ((${#empty[@]} == 0)) || die 2 "not set in .env: ${empty[*]}"
    if (($(length_of CONTROL_TOKEN) == 0)); then
        warn "CONTROL_TOKEN is not set: the feeder cannot ask the gap handler for repairs, and mends gaps by itself"
    fi
    compose config --quiet || die 2 "docker-compose.yml and .env do not go together: the lines above say why"
}

# Whether Compose leaves this value of .env as it is, or the variable that it puts in was meant.
is_literal() {
    local value=$1
    [[ $value == \'* ]] && return
    value=${value//\$\$/}
    value=${value//\$\{/}
    [[ ${value//\\\$/} != *\$* ]]
}

# Two names of a setting that the program itself never sees; it refuses its own like that.
agree() {
    local one other
    one=$(setting "$1") other=$(setting "$2")
    [[ -z $one || -z $other || $one == "$other" ]] || die 2 "$1 and $2 are two names of one setting and differ: keep one of them"
}

# The length of the first of these settings that has a value.
length_of() {
    local name value
    for name; do
        value=$(setting "$name")
        if [[ -n $value ]]; then
            printf '%s' "${#value}"
            return
        fi
    done
    printf 0
}

check_settings() {
    compose run --rm --no-deps -T feeder config check >/dev/null || die 2 "a setting in .env is not possible: see above"
}

set_up_database() {
    say "starting the database"
    if [[ $(setting DB_HOST timescaledb) == timescaledb ]]; then
        compose up --detach timescaledb || die 1 "the database did not start: the lines above say why"
        await_health timescaledb
    fi
    compose run --rm --no-deps -T feeder schema init || die 1 "the database was not set up: the lines above say why"
}

start() {
    say "starting $*"
    if ! compose up --detach --no-build "$@"; then
        show_troubles "$@"
        die 1 "not everything started"
    fi
}

# Waits until every container says itself that it is healthy: a 503 or a process that is merely there is not enough. All of
# docker-compose.yml can say so; what an override file adds may have no check of its own, and has to run.
await_health() {
    local deadline=$((SECONDS + $(setting DEPLOY_TIMEOUT_S 300))) waiting service
    while :; do
        waiting=()
        for service; do
            is_well "$(health "$service")" || waiting+=("$service")
        done
        ((${#waiting[@]})) || return 0
        if ((SECONDS >= deadline)); then
            show_troubles "${waiting[@]}"
            die 1 "not healthy after $(setting DEPLOY_TIMEOUT_S 300) s: ${waiting[*]}"
        fi
        sleep "${POLL_S:-2}"
    done
}

health() {
    local id
    id=$(compose ps --all --quiet "$1")
    [[ -n $id ]] || { printf 'not there' && return; }
    "$DOCKER" inspect --format "$HEALTH" "$id"
}

is_well() {
    [[ $1 == healthy || $1 == "running without a health check" ]]
}

show_troubles() {
    local service state
    for service; do
        state=$(health "$service")
        is_well "$state" && continue
        printf '\n%s is %s; its last lines:\n' "$service" "$state" >&2
        compose logs --no-color --no-log-prefix --tail 15 "$service" >&2 || true
    done
}

check_schema() {
    local found
    if ! found=$(compose run --rm --no-deps -T feeder schema check); then
        printf '%s\n' "$found" >&2
        die 1 "the database is not as it should be: see above"
    fi
}

show_places() {
    local at service user database
    at=$(setting BIND_ADDRESS 127.0.0.1)
    user=$(setting DB_USER "$(setting POSTGRES_USER mltrader)")
    database=$(setting DB_NAME "$(setting POSTGRES_DB btc_ml_production)")
    [[ $at == 0.0.0.0 ]] && at=$(hostname)
    printf '\neverything is healthy:\n'
    for service; do
        case "$service" in
            timescaledb) place "$service" "postgresql://$user@$at:$(setting TIMESCALEDB_PORT 5432)/$database" ;;
            feeder) place "$service" "http://$at:$(setting FEEDER_PORT "$(setting HEALTH_CHECK_PORT 8080)")/" ;;
            gap-handler) place "$service" "http://$at:$(setting GAP_HANDLER_PORT 9000)/health" ;;
            pgadmin) place "$service" "http://$at:$(setting PGADMIN_PORT 8000)/pgadmin4/" ;;
            prometheus) place "$service" "http://$at:$(setting PROMETHEUS_PORT 9090)/alerts" ;;
            grafana) place "$service" "http://$at:$(setting GRAFANA_PORT 3000)/" ;;
        esac
    done
    printf 'Users and passwords are in .env.\n'
}

place() {
    printf '  %-12s %s\n' "$1" "$2"
}

main "$@"
