#!/bin/sh
# Prints what the changelog says of this version, and fails if that is nothing.
set -eu
cd "$(dirname "$0")/.."
version=$(scripts/version.sh)
notes=$(awk -v heading="## [$version]" '
    index($0, heading) == 1 { inside = 1; next }
    /^## |^\[.*\]: / { inside = 0 }
    inside' CHANGELOG.md)
if [ -z "$notes" ]; then
    echo "release-notes: CHANGELOG.md has nothing below '## [$version] - DATE': move there what is unreleased" >&2
    exit 1
fi
echo "$notes"
