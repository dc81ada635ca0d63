#!/bin/sh
# Makes pgAdmin know the database and its password, so that it connects without asking; then starts what is passed to it.
#
# pgAdmin reads the server list at its very first start only, the password file at every connection: a password that was
# changed in .env is known after a restart. The values are those of docker-compose.yml; nothing is written to the host.
set -eu

data="${PGADMIN_DATA:-/var/lib/pgadmin}"
# pgAdmin keeps the files of a user in a folder of this name, and takes password files from nowhere else.
storage="$data/storage/$(printf '%s' "$PGADMIN_DEFAULT_EMAIL" | tr '@' '_')"

json() {
    printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g')"
}

field() {
    printf '%s' "$1" | sed 's/\\/\\\\/g; s/:/\\:/g'
}

umask 077
mkdir -p "$storage"
printf '%s:%s:*:%s:%s\n' "$(field "$DB_HOST")" "$DB_PORT" "$(field "$DB_USER")" "$(field "$DB_PASSWORD")" >"$storage/.pgpass.new"
chmod 600 "$storage/.pgpass.new"
mv "$storage/.pgpass.new" "$storage/.pgpass"

PGADMIN_SERVER_JSON_FILE="$data/servers.json"
export PGADMIN_SERVER_JSON_FILE
cat >"$PGADMIN_SERVER_JSON_FILE" <<END
{
  "Servers": {
    "1": {
      "Name": "TimescaleDB (BTC ML)",
      "Group": "Production",
      "Host": $(json "$DB_HOST"),
      "Port": $DB_PORT,
      "MaintenanceDB": $(json "$DB_NAME"),
      "Username": $(json "$DB_USER"),
      "ConnectionParameters": {
        "sslmode": $(json "$DB_SSLMODE"),
        "connect_timeout": 10,
        "passfile": "/.pgpass"
      }
    }
  }
}
END

# Only this script needs it; the environment of a process can be read by others of its user.
unset DB_PASSWORD
exec "$@"
