# The image of volkeep, in two sizes:
#
#   docker build --target runtime -t volkeep:0.1.0 .            one static program, certificates, time zones; no shell
#   docker build --target toolbox -t volkeep:0.1.0-toolbox .    Debian with what hooks call: shell, sqlite3, psql, git, curl
#
# Both run as user 65532, on a read-only root file system, without any capability. docs/images.md says which capability
# buys what. Any platform that the base images have is built by naming it: --platform linux/arm64.

ARG RUST_VERSION=1.95
ARG DEBIAN=trixie

# ---- the program ------------------------------------------------------------------------------------------------------
FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS build
# Static, so that it runs on any base and on none. The target has to be named: macros are libraries and cannot be static,
# and with a target the flags are for the program alone. Nobody unwinds a program that aborts on panic, and most of its
# relocations fit into bits: without these two it is an eighth larger. Paths of this stage do not get into the program, so
# that the same sources give the same bytes wherever they lie.
ENV RUSTFLAGS="-C target-feature=+crt-static -C force-unwind-tables=no -C link-arg=-Wl,-z,pack-relative-relocs \
        --remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo" \
    CFLAGS="-fno-asynchronous-unwind-tables -fno-unwind-tables" \
    CARGO_INCREMENTAL=0
WORKDIR /src

# The libraries first, with an empty program of our own: this layer lasts until Cargo.lock changes. A pipe that fails
# names no target here and below, and cargo stops.
COPY Cargo.toml Cargo.lock ./
# hadolint ignore=DL4006
RUN mkdir src && echo 'fn main() {}' > src/main.rs && : > src/lib.rs \
    && cargo build --release --locked --bin volkeep --target "$(rustc -vV | sed -n 's/^host: //p')"

COPY src src
# Cargo goes by times, and those of the empty program are younger than those of the sources.
# hadolint ignore=DL4006
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin volkeep --target "$(rustc -vV | sed -n 's/^host: //p')" \
    && install -D -m 755 "target/$(rustc -vV | sed -n 's/^host: //p')/release/volkeep" /out/volkeep

# ---- what the small image consists of -----------------------------------------------------------------------------------
FROM debian:${DEBIAN}-slim AS files
# Versions are those of the Debian release: the newest certificates and time zones are the right ones.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/volkeep /image/usr/local/bin/volkeep
# All times are one: the same sources give the same image. Whoever builds may say which, as is usual.
ARG SOURCE_DATE_EPOCH=0
RUN install -d -m 755 /image/etc/ssl/certs /image/etc/volkeep /image/usr/share /image/run/secrets \
    && install -d -m 1777 /image/tmp \
    && install -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && cp -R -P /usr/share/zoneinfo /image/usr/share/zoneinfo \
    && rm -f /image/usr/share/zoneinfo/*.tab /image/usr/share/zoneinfo/*.zi /image/usr/share/zoneinfo/leap* \
    && printf 'root:x:0:0:root:/:/nonexistent\nvolkeep:x:65532:65532:volkeep:/:/nonexistent\n' > /image/etc/passwd \
    && printf 'root:x:0:\nvolkeep:x:65532:\n' > /image/etc/group \
    && printf 'hosts: files dns\n' > /image/etc/nsswitch.conf \
    && find /image -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +

# ---- runtime ------------------------------------------------------------------------------------------------------------
FROM scratch AS runtime
LABEL org.opencontainers.image.title="volkeep" \
      org.opencontainers.image.description="Keeps a data volume: brings the data back before the app starts, and backs it up" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=files /image /
# What is given back goes to the system at once, and few heaps are kept: a tenth slower than the allocator's own way, and a
# quarter less memory for a small pod.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072
# Numbers, so that Kubernetes can tell that this is not root.
USER 65532:65532
# Asks the sidecar of the same container; a container that is no sidecar needs no health.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/usr/local/bin/volkeep", "health"]
ENTRYPOINT ["/usr/local/bin/volkeep"]
CMD ["--help"]

# ---- toolbox ------------------------------------------------------------------------------------------------------------
FROM debian:${DEBIAN}-slim AS toolbox
LABEL org.opencontainers.image.title="volkeep toolbox" \
      org.opencontainers.image.description="volkeep with a shell and the clients of databases, for hooks and repairs" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
# Versions are those of the Debian release.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates curl git jq mariadb-client openssh-client postgresql-client redis-tools sqlite3 tzdata zstd \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
    && groupadd --gid 65532 volkeep \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir / --shell /usr/sbin/nologin volkeep
COPY --chmod=755 deploy/hooks/postgres-copy deploy/hooks/sqlite-hold docs/recover.sh /usr/local/bin/
COPY --from=build /out/volkeep /usr/local/bin/volkeep
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/usr/local/bin/volkeep", "health"]
ENTRYPOINT ["/usr/local/bin/volkeep"]
CMD ["--help"]
