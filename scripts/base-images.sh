#!/bin/sh
# Makes images like those that the Dockerfile starts from, for machines that reach no registry: Debian by debootstrap,
# and on it the Rust toolchain of this machine; both trust whom this machine trusts. Prints the arguments that make
# `docker build` start from them. They are made anew in every week of the calendar, so that security fixes come in.
#
#   docker build $(scripts/base-images.sh) .
set -eu
cd "$(dirname "$0")/.."
release=$(sed -n 's/^ARG DEBIAN_IMAGE=debian:\([a-z]*\).*/\1/p' Dockerfile)
week=$(date +%G.%V)
debian=iperf3-mesh-base/debian:$release-$week
rust=iperf3-mesh-base/rust:$(rustc --version | cut -d' ' -f2)-$release-$week

there() { docker image inspect "$1" >/dev/null 2>&1; }

make_debian() {
    scripts/setup.sh debootstrap update-ca-certificates
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    debootstrap --variant=minbase "$release" "$scratch/debian" >"$scratch/log" 2>&1 ||
        { tail -n 20 "$scratch/log" >&2; echo "base-images: debootstrap failed: its words are above" >&2; exit 1; }
    # As in the image of that name: security fixes come in, from the mirror that debootstrap wrote down.
    mirror=$(sed -n 's/^deb \([^ ]*\) .*/\1/p;q' "$scratch/debian/etc/apt/sources.list")
    printf 'deb %s %s main\n' "$mirror" "$release" "$mirror" "$release-updates" \
        "${mirror%/}-security" "$release-security" >"$scratch/debian/etc/apt/sources.list"
    # Whom this machine trusts, which may be more than Debian does.
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

there "$debian" || make_debian
there "$rust" || make_rust
# Those of other weeks would only take up room.
docker image ls --format '{{.Repository}}:{{.Tag}}' 'iperf3-mesh-base/*' | grep -v -e "-$week\$" |
    xargs -r docker image rm --force >/dev/null
echo "--build-arg RUST_IMAGE=$rust --build-arg DEBIAN_IMAGE=$debian"
