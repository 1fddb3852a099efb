#!/bin/sh
# Runs a command with a docker that answers: the machine's own; or else, for root on Debian and its kin, one that lives as
# long as the command. That one is taken out of Debian's packages, since installing them would start a service; it has no
# bridge and leaves the firewall alone, so that builds and containers use the host's network.
#
#   scripts/with-docker.sh docker images
set -eu

say() { echo "docker: $*" >&2; }
answers() { timeout 20 docker version >/dev/null 2>&1; }

if answers; then
    exec "$@"
fi

if [ -n "${DOCKER_HOST:-}" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "no docker daemon answers at ${DOCKER_HOST:-the usual socket}. Mend: install docker and start it"
    say "(systemctl start docker), join the group docker, or name a daemon in DOCKER_HOST."
    say "Root on Debian needs no daemon: unset DOCKER_HOST"
    exit 1
fi

# Programs, images and the builder's cache stay there for the next time.
home=${XDG_CACHE_HOME:-$HOME/.cache}/iperf3-mesh/docker
mkdir -p "$home"
exec 9>"$home/lock"
flock -w 1800 9 || { say "another command has used $home for half an hour; try again when it has ended"; exit 1; }

# Newer Debian releases keep the command line and its builder in packages of their own.
fetch_programs() {
    say "taking docker out of Debian's packages, into $home"
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
    fetch_programs || { cat "$home/log" >&2; say "the packages could not be had: apt-get's words are above"; exit 1; }
fi
PATH="$home/programs/usr/sbin:$home/programs/usr/bin:$PATH"
# Where the command line looks for its builder.
DOCKER_CONFIG=$home/config
mkdir -p "$DOCKER_CONFIG"
ln -sfn "$home/programs/usr/libexec/docker/cli-plugins" "$DOCKER_CONFIG/cli-plugins"

# A socket's path must be short.
run=$(mktemp -d)
DOCKER_HOST=unix://$run/docker.sock
export PATH DOCKER_CONFIG DOCKER_HOST

stop() {
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
    umount "$run"/exec/netns/* 2>/dev/null || true
    rm -rf "$run"
}
# Whatever ends this script ends the daemon, too.
setpriv --pdeathsig TERM \
    dockerd --data-root "$home/data" --exec-root "$run/exec" --pidfile "$run/pid" --host "$DOCKER_HOST" \
    --bridge none --iptables=false --ip6tables=false >"$home/dockerd.log" 2>&1 9>&- &
daemon=$!
trap stop EXIT
trap 'exit 130' INT TERM

patience=60
until answers; do
    patience=$((patience - 1))
    if [ "$patience" = 0 ] || ! kill -0 "$daemon" 2>/dev/null; then
        tail -n 20 "$home/dockerd.log" >&2
        say "dockerd does not start: its words are above, all of them in $home/dockerd.log"
        exit 1
    fi
    sleep 0.5
done

# In the background, since a shell hears of no signal while it waits for a command in the foreground. An interrupt is for
# both, as in the foreground: the terminal sends it to the command as well.
exec 3<&0
env --default-signal=INT,QUIT "$@" <&3 3<&- 9>&- &
command=$!
trap 'wait "$command" || true; exit 130' INT
trap 'kill "$command" 2>/dev/null || true; wait "$command" || true; exit 143' TERM
wait "$command"
