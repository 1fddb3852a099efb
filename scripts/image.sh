#!/bin/sh
# Builds the image under the name in the manifests, and saves it as target/image.tar for clusters that import it from a
# file. Arguments are passed on to `docker build`.
#
#   scripts/with-docker.sh scripts/image.sh
set -eu
cd "$(dirname "$0")/.."
export DOCKER_BUILDKIT=1
image=$(scripts/image-name.sh)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# The repository has the owner and name of the image: ghcr.io/OWNER/NAME:TAG.
source=${image#*/}
source=https://github.com/${source%:*}

# Pulls both base images. Fails if one can neither be pulled nor was pulled before, and says why.
have_bases() {
    for base in $(sed -n 's/^FROM \([a-z]*:[^ ]*\) .*/\1/p' Dockerfile); do
        error=$(docker pull -q "$base" 2>&1 >/dev/null) && continue
        echo "image: $base cannot be pulled: $error" >&2
        docker image inspect "$base" >/dev/null 2>&1 || return 1
        echo "image: using the one that was pulled before" >&2
    done
}

dockerfile=$(cat Dockerfile)
if ! have_bases; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "image: fix the access to its registry (proxy, docker login, rate limit). Only root on Debian can do without:" >&2
        echo "image: base images are then made from Debian's packages and this machine's Rust" >&2
        exit 1
    fi
    echo "image: making base images from Debian's packages and this machine's Rust instead" >&2
    dockerfile=$(scripts/base-images.sh)
fi

# The host's network, because the daemon may have no other.
printf '%s\n' "$dockerfile" | docker build --network=host -f - --build-arg VERSION="$(scripts/version.sh)" \
    --build-arg REVISION="$revision" --build-arg SOURCE="$source" -t "$image" "$@" .
mkdir -p target
docker save "$image" -o target/image.tar
size=$(docker image inspect -f '{{.Size}}' "$image" | awk '{ printf "%.1f MB", $1 / 1e6 }')
echo "$image: $size, also in target/image.tar"
