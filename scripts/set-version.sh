#!/bin/sh
# Begins a version: in Cargo.toml, wherever an image or a tag is named, and in the changelog, where it gets what was
# unreleased. `git diff` then shows each place.
#
#   scripts/set-version.sh 0.2.0
set -eu
cd "$(dirname "$0")/.."
old=$(scripts/version.sh)
new=$1
echo "$new" | grep -qxE '[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?' ||
    { echo "set-version: '$new' is no version like 0.2.0 or 0.2.0-rc.1" >&2; exit 1; }
if grep -qF "## [$new]" CHANGELOG.md; then
    echo "set-version: CHANGELOG.md already tells of $new: what is released stays as it is" >&2
    exit 1
fi

quoted=$(echo "$old" | sed 's/\./\\./g')
sed -i "s/^version = \"$quoted\"$/version = \"$new\"/" Cargo.toml
grep -rlF "$old" manifests kustomize docs README.md tests/manifests |
    xargs sed -i -E "s/(iperf3-mesh:|ref=v|newTag: )$quoted(\$|[^0-9.])/\1$new\2/g"
sed -i "s/^## \[Unreleased\]$/&\n\n## [$new] - $(date +%F)/" CHANGELOG.md
cargo update --quiet --workspace --offline
