#!/usr/bin/env bash
# Gives root up, as the real one does.
set -euo pipefail
[ "$(id -u)" -ne 0 ] || exec setpriv --reuid cassandra --regid cassandra --init-groups "$@"
exec "$@"
