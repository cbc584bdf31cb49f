# What the demos share; each `demo` begins with it. A demo has a project of its own, with the secrets and the log in a
# directory of its own, so that several can run at once. All of it goes when the demo ends, unless --keep is given.
# shellcheck shell=bash
set -euo pipefail
exec </dev/null

case "${1:-}" in
"") keep=0 ;;
--keep) keep=1 ;;
*)
    sed -n '2,/--keep/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

cd "$(dirname "$(readlink -f "$0")")"
# Other files than the one that is here are none of the demo's business.
unset COMPOSE_FILE COMPOSE_PROFILES
export COMPOSE_ANSI=never COMPOSE_PROGRESS=plain
export COMPOSE_PROJECT_NAME="volkeep-${PWD##*/}-$$"
work="$(mktemp -d)"
# Only its owner can enter it. The files in it can be read by everybody, and so by the user of the container that one of
# them is mounted into.
export SECRETS="$work/secrets"
mkdir "$SECRETS"
umask 022
trap finish EXIT
trap 'exit 130' INT TERM

compose() {
    docker compose "$@"
}

# Each step is told with the time it began at.
step() {
    printf '== %s  (%ds)\n' "$1" "$SECONDS"
}

fail() {
    echo "demo: $1" >&2
    exit 1
}

# Says something only if it fails.
quietly() {
    local code=0
    "$@" >"$work/log" 2>&1 || code=$?
    [ "$code" -eq 0 ] || cat "$work/log" >&2
    return "$code"
}

# A file with something nobody can guess.
secret() {
    head -c 18 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' >"$SECRETS/$1"
}

# Keys as S3 has them.
s3_keys() {
    secret s3_id
    secret s3_secret
}

# What volkeep runs by hand: the sidecar's container has it.
sidecar() {
    compose exec -T sidecar volkeep "$@"
}

# lose VOLUME SERVICE…: the containers that have the volume go, and so does the volume.
lose() {
    local volume="${COMPOSE_PROJECT_NAME}_$1"
    shift
    quietly compose rm --stop --force "$@"
    quietly docker volume rm "$volume"
    ! docker volume inspect "$volume" >/dev/null 2>&1 || fail "$volume is still there"
}

# same WHAT BEFORE AFTER
same() {
    [ -n "$2" ] || fail "there was nothing to compare: $1"
    [ "$2" = "$3" ] || fail "$1 differs:
$(diff <(echo "$2") <(echo "$3"))"
    echo "the same as before: $1"
}

# How it goes is for each demo to say, if it has more than one project.
tear_down() {
    compose --profile '*' down --volumes --remove-orphans --timeout 5
}

show_logs() {
    compose logs --no-color --tail 40
}

finish() {
    local code=$?
    trap - EXIT
    [ "$code" -eq 0 ] || show_logs >&2 || true
    if [ "$keep" -eq 1 ]; then
        echo "left as it is; to look at it, and to end it:"
        echo "  cd $PWD; export SECRETS=$SECRETS COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME"
        echo "  docker compose --profile '*' down --volumes; rm -r $work"
        exit "$code"
    fi
    quietly tear_down || code=1
    rm -rf -- "$work"
    [ "$code" -ne 0 ] || echo "== done  (${SECONDS}s)"
    exit "$code"
}
