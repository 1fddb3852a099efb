#!/bin/sh
# Sets the GitHub owner, an organisation or user, in every image name and link of this repository. It
# replaces the owner that manifests/daemonset.yaml names now, so it can be run again.
#
#   scripts/set-owner.sh your-organisation
set -eu
cd "$(dirname "$0")/.."
# Image names are lower case, and GitHub ignores case in links.
new=$(printf %s "${1:-}" | tr '[:upper:]' '[:lower:]')
printf %s "$new" | grep -qxE '[a-z0-9]([a-z0-9-]{0,37}[a-z0-9])?' || {
    echo "set-owner: '$new' is not a GitHub organisation or user: make owner OWNER=your-organisation" >&2
    exit 1
}
old=$(scripts/image-name.sh | cut -d/ -f2)

# An owner is only replaced in front of the repository's name and of a team, never in prose.
grep -rlIZE --exclude-dir=.git --exclude-dir=target --exclude-dir=node_modules --exclude-dir=corpus "(/| )$old/iperf3-mesh|@$old/" . |
    xargs -0 -r sed -i -E "s#(/| )$old/iperf3-mesh#\1$new/iperf3-mesh#g; s#@$old/#@$new/#g"
