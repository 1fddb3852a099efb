#!/bin/sh
# Fails unless a tag may become a release: it names this version, its commit is on main of origin, the manifests name
# the image that will be pushed, and the changelog has an entry.
#
#   scripts/check-tag.sh v0.2.0 ghcr.io/OWNER/iperf3-mesh
set -eu
cd "$(dirname "$0")/.."
version=$(scripts/version.sh)
if [ "$1" != "v$version" ]; then
    echo "check-tag: the tag is $1, but the version in Cargo.toml is $version: run scripts/set-version.sh, then tag that commit" >&2
    exit 1
fi
if ! git merge-base --is-ancestor "$1^{commit}" origin/main; then
    echo "check-tag: $1 is not on main of origin: merge its commit, then tag the merged one" >&2
    exit 1
fi
asked=$(scripts/image-name.sh)
if [ "$asked" != "$2:$version" ]; then
    echo "check-tag: manifests/daemonset.yaml names $asked, but $2:$version would be pushed: run make owner" >&2
    exit 1
fi
scripts/release-notes.sh >/dev/null
