"""Gets the programs of a cluster: those in Go from their modules, the container runtime from
Debian.

`path(name)` returns the file of a program. Everything stays below CACHE, in a directory whose name
contains its version and a hash of the files in build/. A second run therefore builds nothing, and a
new version does not replace the old one.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULES = Path(__file__).parents[1] / "build"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iperf3-mesh-e2e"

# Programs, and the packages that they are built from. Each module's go.mod has the versions.
KUBERNETES = {
    name: f"k8s.io/kubernetes/cmd/{name}"
    for name in [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kubectl",
    ]
}
GO = {
    "kubernetes": KUBERNETES,
    "etcd": {"etcd": "go.etcd.io/etcd/server/v3"},
    "coredns": {"coredns": "."},
    "prometheus-operator": {
        "operator": "github.com/prometheus-operator/prometheus-operator/cmd/operator"
    },
    "prometheus": {"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
    "pause": {"pause": "."},
}
# Packages, and the directory to use from each.
DEBIAN = {"containerd": "usr/bin", "runc": "usr/sbin", "containernetworking-plugins": "usr/lib/cni"}

# Seconds for the slowest build on a slow computer.
PATIENCE = 3600
# Tools that the computer needs, in addition to Go, and to apt for missing programs.
TOOLS = ["ip", "tc", "mount", "nsenter", "unshare", "setpriv", "openssl"]


def check_computer():
    """Exits with a message if this computer cannot run a cluster."""
    if os.geteuid():
        raise SystemExit(
            "e2e: a cluster needs root for its networks, mounts and control groups: use sudo"
        )
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise SystemExit(
            f"e2e: not installed: {', '.join(missing)} (Debian: iproute2, util-linux, openssl)"
        )
    check_go()


@functools.cache
def check_go():
    """Exits with a hint if Go is too old. Since 1.21, Go downloads and reports the version that
    go.mod requires.
    """
    source = MODULES / "kubernetes"
    output = run("go", "version", cwd=source, capture_output=True, text=True).stdout
    found = re.search(r"go(\d+)\.(\d+)", output)
    needed = re.search(r"^go (\d+)\.(\d+)", (source / "go.mod").read_text(), re.MULTILINE)
    if tuple(map(int, found.groups())) < tuple(map(int, needed.groups())):
        raise SystemExit(
            f"e2e: {shutil.which('go')} is {found[0]}, but build/*/go.mod need {needed[0]} or "
            "newer: install it from https://go.dev/dl and put it first on the PATH (with sudo: on "
            "root's PATH)"
        )


def path(program):
    """Returns the file of a program; builds it if necessary."""
    for module, programs in GO.items():
        if program in programs:
            return built(module) / program
    raise ValueError(
        f"unknown program {program}; expected {', '.join(p for m in GO.values() for p in m)}"
    )


def everything():
    """Gets all missing programs; returns the directories of all."""
    return [*map(built, GO), *map(unpacked, DEBIAN)]


@functools.cache
def built(module):
    """Returns the directory with the programs of a Go module; builds them if necessary."""
    source = MODULES / module
    version = version_of(source)

    def build(directory):
        check_go()
        # Kubernetes serves the version that is stamped into its binaries.
        stamp = (
            f"-X k8s.io/component-base/version.gitVersion={version}"
            if module == "kubernetes"
            else ""
        )
        for program, package in GO[module].items():
            run(
                "go",
                "build",
                "-trimpath",
                "-ldflags",
                f"-s -w {stamp}",
                "-o",
                directory / program,
                package,
                cwd=source,
                env=os.environ | {"CGO_ENABLED": "0"},
                stderr=subprocess.PIPE,
                text=True,
            )

    return cached(f"{module}-{version}-{fingerprint(source)}", build)


def version_of(source):
    """Returns the version that a module builds: that of the first module it requires, or "own" if
    there is none.
    """
    required = re.search(r"^require \S+ (v\S+)", (source / "go.mod").read_text(), re.MULTILINE)
    return required[1] if required else "own"


def fingerprint(source):
    """Returns a hash of a module's own files."""
    files = sorted(
        file for pattern in ["go.mod", "go.sum", "*.go"] for file in source.glob(pattern)
    )
    return hashlib.sha256(
        b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
    ).hexdigest()[:12]


def source_of(module):
    """Returns the directory with the source of the Go module that `module` builds."""
    file = MODULES / module
    check_go()
    required = re.search(r"^require (\S+) v", (file / "go.mod").read_text(), re.MULTILINE)[1]
    output = run(
        "go", "mod", "download", "-json", required, cwd=file, capture_output=True, text=True
    ).stdout
    return Path(json.loads(output)["Dir"])


@functools.cache
def unpacked(package):
    """Returns the directory with the programs of a Debian package. It is only unpacked, so no
    service starts.
    """
    shown = run(
        "apt-cache", "show", "--no-all-versions", package, capture_output=True, text=True
    ).stdout
    version = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)[1]

    def unpack(directory):
        run(
            "apt-get",
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "download",
            f"{package}={version}",
            cwd=directory,
            stdout=subprocess.DEVNULL,
        )
        package_file = next(directory.glob("*.deb"))
        run("dpkg-deb", "-x", package_file, directory)
        package_file.unlink()

    return cached(f"{package}-{version}", unpack) / DEBIAN[package]


def cached(name, make):
    """Returns the directory `name` of the cache. `make` fills it, and it appears only when it is
    complete.
    """
    final = CACHE / name
    if not final.exists():
        print(f"e2e: getting {name}", file=sys.stderr)
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            directory = Path(scratch, name)
            directory.mkdir()
            make(directory)
            if not final.exists():
                shutil.move(directory, final)
    return final


def run(*command, **options):
    """Runs a command; if it fails, exits with its error message."""
    try:
        return subprocess.run(
            [str(word) for word in command], check=True, timeout=PATIENCE, **options
        )
    except FileNotFoundError:
        raise SystemExit(
            f"e2e: {command[0]} is not installed, but needed to get the cluster's programs"
        ) from None
    except subprocess.TimeoutExpired:
        raise SystemExit(
            f"e2e: {' '.join(map(str, command))} took more than {PATIENCE} s"
        ) from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"{error.stderr or ''}e2e: {' '.join(map(str, error.cmd))} failed"
        ) from None
