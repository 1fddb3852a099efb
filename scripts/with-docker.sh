#!/bin/sh
# Runs a command with a docker daemon: the machine's own, or else, for root on Debian and its derivatives, one that runs
# as long as the command. It is unpacked from Debian's packages, because installing them would start a service. It has no
# bridge and does not touch the firewall, so builds and containers use the host's network.
#
#   scripts/with-docker.sh docker images
set -eu

say() { echo "docker: $*" >&2; }
answers() { timeout 20 docker version >/dev/null 2>&1; }

if answers; then
    exec "$@"
fi

if [ -n "${DOCKER_HOST:-}" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "no docker daemon answers at ${DOCKER_HOST:-the usual socket}: install docker and start it (systemctl start docker),"
    say "join the group docker, or name another daemon in DOCKER_HOST. Root on Debian needs none: unset DOCKER_HOST"
    exit 1
fi

# Keeps programs, images and the build cache for the next time.
home=${XDG_CACHE_HOME:-$HOME/.cache}/iperf3-mesh/docker
mkdir -p "$home"
exec 9>"$home/lock"
flock -w 1800 9 || { say "another command has used $home for half an hour: try again when it has ended"; exit 1; }

# Newer Debian releases have separate packages for the command line and its builder.
fetch_programs() {
    say "unpacking docker from Debian's packages into $home"
    rm -rf "$home/debs" "$home/unpacked"
    mkdir -p "$home/debs"
    apt-get -q update >"$home/log" 2>&1
    packages="docker.io containerd runc"
    for package in docker-cli docker-buildx; do
        if apt-cache policy "$package" | grep -q 'Candidate: [^(]'; then packages="$packages $package"; fi
    done
    (cd "$home/debs" && apt-get -q -o APT::Sandbox::User=root download $packages >>"$home/log" 2>&1) &&
        for deb in "$home"/debs/*.deb; do dpkg-deb -x "$deb" "$home/unpacked" || return 1; done &&
        mv "$home/unpacked" "$home/programs" &&
        rm -rf "$home/debs"
}
if [ ! -d "$home/programs" ]; then
    fetch_programs || { cat "$home/log" >&2; say "cannot download the packages: see the output of apt-get above"; exit 1; }
fi
PATH="$home/programs/usr/sbin:$home/programs/usr/bin:$PATH"
# The command line looks for its builder below this directory.
DOCKER_CONFIG=$home/config
mkdir -p "$DOCKER_CONFIG"
ln -sfn "$home/programs/usr/libexec/docker/cli-plugins" "$DOCKER_CONFIG/cli-plugins"

# The path of a socket is limited to 107 bytes.
run=$(mktemp -d)
DOCKER_HOST=unix://$run/docker.sock
export PATH DOCKER_CONFIG DOCKER_HOST

stop() {
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
    umount "$run"/exec/netns/* 2>/dev/null || true
    rm -rf "$run"
}
# The daemon ends with this script, even if the script is killed.
setpriv --pdeathsig TERM \
    dockerd --data-root "$home/data" --exec-root "$run/exec" --pidfile "$run/pid" --host "$DOCKER_HOST" \
    --bridge none --iptables=false --ip6tables=false >"$home/dockerd.log" 2>&1 9>&- &
daemon=$!
trap stop EXIT
trap 'exit 130' INT TERM

tries_left=60
until answers; do
    tries_left=$((tries_left - 1))
    if [ "$tries_left" = 0 ] || ! kill -0 "$daemon" 2>/dev/null; then
        tail -n 20 "$home/dockerd.log" >&2
        say "dockerd does not start: see its last lines above and $home/dockerd.log"
        exit 1
    fi
    sleep 0.5
done

# In the background, because a shell handles no signal while it waits for a foreground command. An interrupt ends both:
# the terminal sends it to the command as well.
exec 3<&0
env --default-signal=INT,QUIT "$@" <&3 3<&- 9>&- &
command=$!
trap 'wait "$command" || true; exit 130' INT
trap 'kill "$command" 2>/dev/null || true; wait "$command" || true; exit 143' TERM
wait "$command"
