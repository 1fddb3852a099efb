#!/bin/sh
# Builds the image under the name that the manifests ask for, and leaves it in target/image.tar as well, for clusters that
# import it from a file. Arguments are passed on to `docker build`.
#
#   scripts/with-docker.sh scripts/image.sh
set -eu
cd "$(dirname "$0")/.."
export DOCKER_BUILDKIT=1
image=$(scripts/image-name.sh)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

# Tells whether both base images are there, as new as they can be had, and of each that cannot be pulled, why.
have_bases() {
    for base in $(sed -n 's/^ARG [A-Z]*_IMAGE=//p' Dockerfile); do
        words=$(docker pull -q "$base" 2>&1 >/dev/null) && continue
        echo "image: $base cannot be pulled: $words" >&2
        docker image inspect "$base" >/dev/null 2>&1 || return 1
        echo "image: taking the one that was pulled before" >&2
    done
}

bases=
if ! have_bases; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "image: it must come from a registry (mend the way to it: proxy, docker login, limits), except for root on" >&2
        echo "image: Debian, where base images are made from Debian's packages and this machine's Rust" >&2
        exit 1
    fi
    echo "image: making base images from Debian's packages and this machine's Rust instead" >&2
    bases=$(scripts/base-images.sh)
fi

# The host's network, since a daemon may have no other.
docker build --network=host $bases --build-arg VERSION="$(scripts/version.sh)" --build-arg REVISION="$revision" \
    -t "$image" "$@" .
mkdir -p target
docker save "$image" -o target/image.tar
size=$(docker image inspect -f '{{.Size}}' "$image" | awk '{ printf "%.1f MB", $1 / 1e6 }')
echo "$image: $size, also in target/image.tar"
