#!/bin/sh
# Installs those of the given programs that are missing. Silent and quick if none is. Changes nothing else: no
# service is started, nothing is upgraded.
#
#   scripts/setup.sh cc iperf3
set -eu

say() { echo "setup: $*" >&2; }

# Some of the programs are in directories that are not on every user's PATH.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# The package that contains program $1 for package manager $2.
package() {
    case "$2:$1" in
        apt-get:cc) echo gcc libc6-dev ;;
        apt-get:c++) echo g++ libc6-dev ;;
        dnf:c++) echo gcc-c++ ;;
        apk:c++) echo g++ ;;
        dnf:cc) echo gcc glibc-devel ;;
        apk:cc) echo gcc musl-dev ;;
        apt-get:promtool | apk:promtool) echo prometheus ;;
        apt-get:python3) echo python3-venv ;;
        dnf:prometheus) echo /usr/bin/prometheus ;;
        apk:python3) echo python3 py3-pip ;;
        dnf:promtool) echo /usr/bin/promtool ;;
        apt-get:go) echo golang-go ;;
        dnf:go) echo golang ;;
        dnf:shellcheck) echo ShellCheck ;;
        *:node) echo nodejs ;;
        *:nft) echo nftables ;;
        apt-get:ip | apt-get:tc) echo iproute2 ;;
        dnf:ip) echo iproute ;;
        dnf:tc) echo iproute-tc ;;
        apk:ip | apk:tc) echo iproute2 ;;
        *:update-ca-certificates) echo ca-certificates ;;
        *:unshare) echo util-linux ;;
        *) echo "$1" ;;
    esac
}

# Runs "$@" and prints its output only if it fails.
quietly() {
    "$@" >"$scratch/log" 2>&1 && return
    cat "$scratch/log" >&2
    return 1
}

install_with() {
    case "$1" in
        apt-get)
            quietly $as_root apt-get -q update &&
                quietly $as_root env DEBIAN_FRONTEND=noninteractive \
                    apt-get -q install -y --no-install-recommends $packages
            ;;
        dnf) quietly $as_root dnf -q install -y $packages ;;
        apk) quietly $as_root apk add -q $packages ;;
    esac
}

# Debian's package starts a Prometheus server, so only program $1 is taken out of it.
from_prometheus_deb() {
    quietly $as_root apt-get -q update &&
        (cd "$scratch" && quietly apt-get -q -o APT::Sandbox::User=root download prometheus) &&
        dpkg-deb -x "$scratch"/prometheus_*.deb "$scratch/prometheus" &&
        $as_root install -D "$scratch/prometheus/usr/bin/$1" "/usr/local/bin/$1"
}

missing=
for program in "$@"; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

manager=
for candidate in apt-get dnf apk; do
    if command -v "$candidate" >/dev/null; then
        manager=$candidate
        break
    fi
done
if [ -z "$manager" ]; then
    say "missing:$missing"
    say "this machine has neither apt-get, dnf nor apk: install them by hand, then try again"
    exit 1
fi

packages=
for program in $missing; do
    case "$manager:$program" in
        apt-get:promtool | apt-get:prometheus) ;;
        *) packages="$packages $(package "$program" "$manager")" ;;
    esac
done

if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
elif [ -t 0 ] && command -v sudo >/dev/null; then
    as_root=sudo
else
    by_hand=
    for program in $missing; do by_hand="$by_hand $(package "$program" "$manager")"; done
    say "missing:$missing"
    say "not root, and sudo asks for a password. Run as root: $manager $([ "$manager" = apk ] && echo add || echo install)$by_hand"
    exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
say "installing$missing with $manager"
if [ -n "$packages" ]; then
    install_with "$manager" || { say "$manager could not install$packages: see its output above"; exit 1; }
fi
for program in promtool prometheus; do
    case "$manager:$missing " in
        apt-get:*" $program "*)
            from_prometheus_deb "$program" || { say "cannot extract $program from the package prometheus"; exit 1; }
            ;;
    esac
done
for program in $missing; do
    command -v "$program" >/dev/null || { say "$manager reported success, but $program is still missing"; exit 1; }
done
