#!/bin/sh
# Prints the changelog's entry for this version, and fails if there is none.
set -eu
cd "$(dirname "$0")/.."
version=$(scripts/version.sh)
notes=$(awk -v heading="## [$version]" '
    index($0, heading) == 1 { inside = 1; next }
    /^## |^\[.*\]: / { inside = 0 }
    inside' CHANGELOG.md)
if [ -z "$notes" ]; then
    echo "release-notes: CHANGELOG.md has no entry below '## [$version] - DATE': move the unreleased changes there" >&2
    exit 1
fi
echo "$notes"
