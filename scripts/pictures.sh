#!/bin/sh
# Draws the dashboards with Grafana's own components, from the figures of a real mesh (of the agent that is named as the
# argument), checks what they show, and writes the pictures of the docs. It takes some five minutes.
# Needs node 20 or newer with npm, chromium, iperf3, ip, tc, nft, python3 and prometheus; the rest comes from npm.
#
#   scripts/pictures.sh target/debug/iperf3-mesh
set -eu
PATH="$PATH:/usr/sbin:/sbin"
agent=$(realpath "$1")
cd "$(dirname "$0")/.."
tests=tests/grafana
mkdir -p "${CARGO_TARGET_DIR:-target}/pictures"
scratch=$(realpath "${CARGO_TARGET_DIR:-target}/pictures")
export PYTHONDONTWRITEBYTECODE=1

major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 20 ] || { echo "pictures: this is node $major; expected 20 or newer" >&2; exit 1; }

# What is locked tells whether what is installed is still the right one. Grafana's packages ask for more than they need
# (legacy-peer-deps), and none of them needs a script to be installed.
wanted=$(cksum <$tests/package-lock.json)
if [ "$(cat $tests/node_modules/made-for 2>/dev/null)" != "$wanted" ]; then
    npm --prefix $tests ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund --loglevel error
    echo "$wanted" >$tests/node_modules/made-for
fi
node $tests/build.js "$scratch"

# In namespaces of its own there are no ports to collide with, and nothing is left over: killing its process 1 ends it all.
apart="--net --mount --pid --fork --kill-child --mount-proc"
[ "$(id -u)" = 0 ] || apart="--user --map-root-user $apart"
CHROMIUM=$(command -v chromium || command -v chromium-browser)
export CHROMIUM
unshare $apart $tests/lab.py "$agent" node $tests/screenshots.js "$scratch" docs/images &
lab=$!
# It waits for process 1 and takes no notice of milder signals.
trap 'kill -KILL "$lab"; exit 143' INT TERM
wait "$lab"
