#!/bin/sh
# Makes the database at the first start, then runs what it is told to: `postgres` and its options.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    secret=$(mktemp)
    printf '%s' "$POSTGRES_PASSWORD" >"$secret"
    # shellcheck disable=SC2086  # options, separated by spaces as in the real image
    initdb --username="$POSTGRES_USER" --pwfile="$secret" --auth-host="$POSTGRES_HOST_AUTH_METHOD" --auth-local=trust \
        $POSTGRES_INITDB_ARGS >/dev/null
    rm "$secret"
    printf "host all all all %s\n" "$POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
    pg_ctl --options="-c listen_addresses='' -c unix_socket_directories=/tmp" --wait start >/dev/null
    createdb --host=/tmp --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --wait stop >/dev/null
fi
exec "$@" -c "listen_addresses=*" -c unix_socket_directories=/tmp
