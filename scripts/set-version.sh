#!/bin/sh
# Starts a new version: in Cargo.toml and Cargo.lock, in every image name and tag, and in the changelog, where it takes
# the unreleased changes. `git diff` then shows each place.
#
#   scripts/set-version.sh 0.2.0
set -eu
cd "$(dirname "$0")/.."
old=$(scripts/version.sh)
new=$1
echo "$new" | grep -qxE '[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?' ||
    { echo "set-version: '$new' is not a version: expected 0.2.0 or 0.2.0-rc.1" >&2; exit 1; }
if grep -qF "## [$new]" CHANGELOG.md; then
    echo "set-version: CHANGELOG.md already has an entry for $new, and released entries stay as they are" >&2
    exit 1
fi

quoted=$(echo "$old" | sed 's/\./\\./g')
sed -i "s/^version = \"$quoted\"$/version = \"$new\"/" Cargo.toml
grep -rlF "$old" manifests kustomize docs README.md tests/manifests |
    xargs sed -i -E "s/(iperf3-mesh:|ref=v|newTag: )$quoted(\$|[^0-9.])/\1$new\2/g"
sed -i "s/^## \[Unreleased\]$/&\n\n## [$new] - $(date +%F)/" CHANGELOG.md
cargo update --quiet --workspace --offline
