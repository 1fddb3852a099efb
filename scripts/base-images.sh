#!/bin/sh
# Builds replacements for the Dockerfile's base images, for machines that reach no registry: Debian by debootstrap,
# and this machine's Rust toolchain on top of it. Both trust the same certificates as this machine. Prints the
# Dockerfile with their names in it. They are rebuilt once per calendar week, for security fixes.
#
#   scripts/base-images.sh | docker build -f - .
set -eu
cd "$(dirname "$0")/.."
release=$(sed -n 's/^FROM debian:\([a-z]*\).*/\1/p' Dockerfile)
week=$(date +%G.%V)
debian=iperf3-mesh-base/debian:$release-$week
rust=iperf3-mesh-base/rust:$(rustc --version | cut -d' ' -f2)-$release-$week

exists() { docker image inspect "$1" >/dev/null 2>&1; }

make_debian() {
    scripts/setup.sh debootstrap update-ca-certificates
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    debootstrap --variant=minbase "$release" "$scratch/debian" >"$scratch/log" 2>&1 ||
        { tail -n 20 "$scratch/log" >&2; echo "base-images: debootstrap failed: see its output above" >&2; exit 1; }
    # Like the official image, with security updates, but from the mirror that debootstrap used.
    mirror=$(sed -n 's/^deb \([^ ]*\) .*/\1/p;q' "$scratch/debian/etc/apt/sources.list")
    printf 'deb %s %s main\n' "$mirror" "$release" "$mirror" "$release-updates" \
        "${mirror%/}-security" "$release-security" >"$scratch/debian/etc/apt/sources.list"
    # This machine may trust more certificate authorities than Debian does.
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$scratch/debian/etc/ssl/certs/ca-certificates.crt"
    tar -C "$scratch/debian" -c --exclude=./var/cache/apt/archives/\*.deb --exclude=./var/lib/apt/lists/\*_\* . |
        docker import - "$debian" >/dev/null
}

make_rust() {
    docker build --quiet --network=host -t "$rust" -f - "$(rustc --print sysroot)" >/dev/null <<EOF
FROM $debian
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY bin /usr/local/bin
COPY lib /usr/local/lib
ENV CARGO_HOME=/usr/local/cargo
EOF
}

exists "$debian" || make_debian
exists "$rust" || make_rust
# Images of other weeks only take up space.
docker image ls --format '{{.Repository}}:{{.Tag}}' 'iperf3-mesh-base/*' | grep -v -e "-$week\$" |
    xargs -r docker image rm --force >/dev/null
sed -e "s|^FROM rust:[^ ]*|FROM $rust|" -e "s|^FROM debian:[^ ]*|FROM $debian|" Dockerfile
