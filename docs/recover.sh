#!/usr/bin/env bash
# Brings a snapshot back from a repository of format 1 without volkeep: with bash, jq, GNU coreutils, zstd or
# gzip, and setfattr where files have attributes. It is here to be read: it trusts the repository, checks lengths
# but no hashes, and starts several processes for each file. docs/format.md explains what it reads.
#
#   docs/recover.sh REPOSITORY TARGET [SNAPSHOT]     the newest snapshot, unless one is named
set -euo pipefail
# Names are bytes, whatever they mean to somebody.
export LC_ALL=C

[ $# -ge 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
repository=$1
target=$2
snapshot=${3:-$(find "$repository/snapshots" -name '*.json' -printf '%f\n' | sort | tail -n 1)}
snapshot=${snapshot%.json}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

main() {
    mkdir -p "$target"
    [ -z "$(ls -A "$target")" ] || { echo "$target is not empty" >&2; exit 1; }
    local segment kind path mode uid gid time attributes size link major minor first holes pieces
    for segment in $(jq -r '.segments[].id' "$repository/snapshots/$snapshot.json"); do
        decode <"$repository/segments/$segment" >"$work/segment"
        rows "$work/segment" >"$work/rows"
        while read -r kind path mode uid gid time attributes size link major minor first holes pieces; do
            place "$target/$(bytes "$path")"
        done <"$work/rows"
        cat "$work/rows" >>"$work/all"
    done
    # Directories last and from the deepest up: what is made in one changes its time, and may need its mode.
    tac "$work/all" | while read -r kind path mode uid gid time attributes _; do
        [ "$kind" != d ] || metadata "$target/$(bytes "$path")"
    done
}

decode() {
    case $(jq -r .codec "$repository/repository.json") in
        zstd) zstd -dcq ;;
        gzip) gzip -dc ;;
        none) cat ;;
    esac
}

# One line of words for each entry; `-` stands for nothing. Names are base64, so that they hold no blanks.
# A piece of content is `pack,offset,stored,plain,skip,length`.
rows() {
    jq -rn '
        def b64: if type == "object" then .b64 else @base64 end;
        def word: if . == null or . == "" then "-" else tostring end;
        input as $head
        | inputs
        | [ .t, (if .p == "" then "." else .p end | b64), .m, .u, .g, .mt,
            ([.xa[]? | map(b64) | join(",")] | join(";")), .s,
            (.to | if . == null then "-" else b64 end), .ma, .mi,
            (.hl | if . == null then "-" else b64 end),
            ([.ho[]? | "\(.[0]),\(.[1])"] | join(";")),
            ([.x[]? | . as [$frame, $skip, $length] | $head.frames[$frame]
              | "\($head.packs[.[0]]),\(.[1]),\(.[2]),\(.[3]),\($skip),\($length)"] | join(";")) ]
        | map(word) | join(" ")' "$1"
}

# The bytes that a base64 word stands for. Use it in $(…) only: a name may end in a line feed, which $(…) would
# eat, so a slash goes behind it. `a/` and `a` are the same place to all but links, which is why it is cut again.
bytes() {
    base64 -d <<<"$1"
    printf /
}

place() {
    local to=${1%/}
    if [ "$first" != - ]; then
        local other
        other=$target/$(bytes "$first")
        ln "${other%/}" "$to"
        return
    fi
    case $kind in
        d) mkdir -p "$to"; return ;;
        f) content "$to" ;;
        l) local text; text=$(bytes "$link"); ln -s "${text%/}" "$to" ;;
        p) mkfifo "$to" ;;
        c | b) mknod "$to" "$kind" "$major" "$minor" || return 0 ;;
        s) echo "left out, a socket: $to" >&2; return ;;
    esac
    metadata "$to"
}

metadata() {
    local to=${1%/}
    if [ "$(id -u)" -eq 0 ]; then
        chown -h "$uid:$gid" "$to"
    fi
    [ "$kind" = l ] || chmod "$(printf %o "$mode")" "$to"
    if [ "$attributes" != - ]; then
        local name value
        while IFS=, read -r name value; do
            name=$(bytes "$name")
            setfattr -h -n "${name%/}" -v "0s$value" "$to" || echo "attribute not set: $to" >&2
        done < <(tr ';' '\n' <<<"$attributes")
    fi
    touch -h -d "@$(moment "$time")" "$to"
}

# `-6.750000000` is 6 seconds before 1970 and then 0.75 forward; `touch` counts the fraction backwards.
moment() {
    local seconds=${1%.*} fraction=${1#*.}
    if [ "${seconds:0:1}" = - ] && [ "$fraction" != 000000000 ]; then
        printf -- '-%d.%09d' $((-seconds - 1)) $((1000000000 - 10#$fraction))
    else
        echo "$1"
    fi
}

# Pieces lie one after another, around the holes.
content() {
    local to=$1 at=0 piece pack offset stored plain skip length frame part
    local -a hole=()
    truncate -s "$size" "$to"
    [ "$holes" = - ] || IFS=';' read -ra hole <<<"$holes"
    [ "$pieces" != - ] || return 0
    while IFS=, read -r pack offset stored plain skip length; do
        frame=$work/$pack.$offset
        if [ ! -e "$frame" ]; then
            # Neighbours in the manifest are neighbours in a frame: keeping one is enough.
            rm -f "$work"/*.*
            dd if="$repository/packs/${pack:0:2}/$pack" iflag=skip_bytes,count_bytes bs=64K status=none \
                skip="$offset" count="$stored" | decode >"$frame"
            [ "$(stat -c %s "$frame")" -eq "$plain" ] || { echo "damaged: pack $pack at $offset" >&2; exit 1; }
        fi
        while [ "$length" -gt 0 ]; do
            while [ ${#hole[@]} -gt 0 ] && [ "${hole[0]%,*}" -eq "$at" ]; do
                at=$((at + ${hole[0]#*,}))
                hole=("${hole[@]:1}")
            done
            part=$length
            if [ ${#hole[@]} -gt 0 ] && [ $((at + part)) -gt "${hole[0]%,*}" ]; then
                part=$((${hole[0]%,*} - at))
            fi
            dd if="$frame" of="$to" bs=64K status=none iflag=skip_bytes,count_bytes oflag=seek_bytes \
                conv=notrunc skip="$skip" count="$part" seek="$at"
            at=$((at + part)) skip=$((skip + part)) length=$((length - part))
        done
    done < <(tr ';' '\n' <<<"$pieces")
}

main
