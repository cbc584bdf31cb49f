#!/usr/bin/env bash
# What examples need of the real one: a cluster is made where there is none, with the password in a file and a database.
set -euo pipefail

[ "${1:-}" = postgres ] || exec "$@"
if [ "$(id -u)" -eq 0 ]; then
    install -d -o postgres -m 700 "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
mkdir -p "$PGDATA"
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -s "${POSTGRES_PASSWORD_FILE:-}" ] || { echo "POSTGRES_PASSWORD_FILE names no file with a password" >&2; exit 1; }
    user="${POSTGRES_USER:-postgres}"
    # shellcheck disable=SC2086
    initdb --username="$user" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256 \
        ${POSTGRES_INITDB_ARGS:-}
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    # Nobody can reach it before the database is there.
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    [ "${POSTGRES_DB:-$user}" = postgres ] ||
        psql --no-psqlrc --username "$user" --dbname postgres --command "CREATE DATABASE \"${POSTGRES_DB:-$user}\""
    pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
