#!/bin/sh
# Draws the dashboards with Grafana's own components and the figures of a real mesh of the given agent, checks what they
# show, and writes the pictures for the docs. Takes about five minutes.
# Needs node 20 or newer with npm, chromium, iperf3, ip, tc, nft, python3 and prometheus; the rest is installed by npm.
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
[ "$major" -ge 20 ] || { echo "pictures: node is version $major; expected 20 or newer" >&2; exit 1; }

# Install again only when the lock file has changed. Grafana's packages declare more peers than they need
# (legacy-peer-deps), and none of them needs its install script.
wanted=$(cksum <$tests/package-lock.json)
if [ "$(cat $tests/node_modules/made-for 2>/dev/null)" != "$wanted" ]; then
    npm --prefix $tests ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund --loglevel error
    echo "$wanted" >$tests/node_modules/made-for
fi
node $tests/build.js "$scratch"

# Namespaces of its own avoid port collisions, and killing their process 1 leaves nothing behind.
namespaces="--net --mount --pid --fork --kill-child --mount-proc"
[ "$(id -u)" = 0 ] || namespaces="--user --map-root-user $namespaces"
CHROMIUM=$(command -v chromium || command -v chromium-browser)
export CHROMIUM
unshare $namespaces $tests/lab.py "$agent" node $tests/screenshots.js "$scratch" docs/images &
lab=$!
# unshare waits for process 1 and ignores other signals.
trap 'kill -KILL "$lab"; exit 143' INT TERM
wait "$lab"
