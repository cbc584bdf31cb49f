#!/bin/bash
# Makes an admin of COUCHDB_USER and COUCHDB_PASSWORD, and refuses to go on without one. Gives root up.
set -euo pipefail
[ "${1:-}" = /opt/couchdb/bin/couchdb ] || exec "$@"
if [ -z "${COUCHDB_USER:-}" ] || [ -z "${COUCHDB_PASSWORD:-}" ]; then
    echo "no admin: set COUCHDB_USER and COUCHDB_PASSWORD" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    find /opt/couchdb/data \! -user couchdb -exec chown couchdb:couchdb {} +
    exec setpriv --reuid couchdb --regid couchdb --init-groups "$@"
fi
exec "$@"
