#!/bin/sh
# Fails unless a tag may become a release: it is this version's, its commit is one of origin's main, the manifests ask for
# the image that will be pushed, and the changelog tells what is new.
#
#   scripts/check-tag.sh v0.2.0 ghcr.io/my-org/iperf3-mesh
set -eu
cd "$(dirname "$0")/.."
version=$(scripts/version.sh)
if [ "$1" != "v$version" ]; then
    echo "check-tag: the tag is $1, the version in Cargo.toml $version: scripts/set-version.sh, then tag that commit" >&2
    exit 1
fi
if ! git merge-base --is-ancestor "$1^{commit}" origin/main; then
    echo "check-tag: $1 is not on main of origin: have its commit merged, then tag what was merged" >&2
    exit 1
fi
asked=$(scripts/image-name.sh)
if [ "$asked" != "$2:$version" ]; then
    echo "check-tag: manifests/daemonset.yaml asks for $asked, but $2:$version would be pushed" >&2
    exit 1
fi
scripts/release-notes.sh >/dev/null
