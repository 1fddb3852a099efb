"""Gets the programs that a cluster consists of, once: those in Go from their modules, the runtime from Debian.

For whoever starts one of them: `path(name)` is its file. Everything is kept below CACHE in a directory that is named
by its version, and by a hash of what stands in build/, so that a second run builds nothing, and a new version does not
disturb the old one.
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

# Program, and the package it is built from; the versions stand in each module's go.mod.
KUBERNETES = {
    name: f"k8s.io/kubernetes/cmd/{name}"
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"]
}
GO = {
    "kubernetes": KUBERNETES,
    "etcd": {"etcd": "go.etcd.io/etcd/server/v3"},
    "coredns": {"coredns": "."},
    "prometheus-operator": {"operator": "github.com/prometheus-operator/prometheus-operator/cmd/operator"},
    "prometheus": {"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
    "pause": {"pause": "."},
}
# Package, and the directory in it that is of use.
DEBIAN = {"containerd": "usr/bin", "runc": "usr/sbin", "containernetworking-plugins": "usr/lib/cni"}

# Seconds for the slowest of all builds, on a slow computer.
PATIENCE = 3600
# What must be on the computer, besides Go, and apt where something has to be got first.
TOOLS = ["ip", "tc", "mount", "nsenter", "unshare", "setpriv", "openssl"]


def check_computer():
    """Ends with what this computer lacks, if it cannot hold a cluster."""
    if os.geteuid():
        raise SystemExit("e2e: a cluster needs root, for its networks, mounts and control groups: try it with sudo")
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"e2e: not installed: {', '.join(missing)} (Debian: iproute2, util-linux, openssl)")
    check_go()


@functools.cache
def check_go():
    """Ends with the mend if Go is too old. From 1.21 on it gets by itself what go.mod says, and tells that version."""
    source = MODULES / "kubernetes"
    told = run("go", "version", cwd=source, capture_output=True, text=True).stdout
    here = re.search(r"go(\d+)\.(\d+)", told)
    needed = re.search(r"^go (\d+)\.(\d+)", (source / "go.mod").read_text(), re.MULTILINE)
    if tuple(map(int, here.groups())) < tuple(map(int, needed.groups())):
        raise SystemExit(f"e2e: {shutil.which('go')} is {here[0]}; build/*/go.mod ask for {needed[0]} or newer: "
                         "install one from https://go.dev/dl and put it first on the PATH (with sudo: on root's)")


def path(program):
    """The file of a program, which is built if it is not there yet."""
    for module, programs in GO.items():
        if program in programs:
            return built(module) / program
    raise ValueError(f"{program} is none of the programs: {', '.join(p for m in GO.values() for p in m)}")


def everything():
    """Gets all that is missing, and returns the directories of all programs."""
    return [*map(built, GO), *map(unpacked, DEBIAN)]


@functools.cache
def built(module):
    """The directory with the programs of a Go module."""
    source = MODULES / module
    version = version_of(source)

    def build(directory):
        check_go()
        # Kubernetes asks its own binaries for the version that it serves.
        stamp = f"-X k8s.io/component-base/version.gitVersion={version}" if module == "kubernetes" else ""
        for program, package in GO[module].items():
            run("go", "build", "-trimpath", "-ldflags", f"-s -w {stamp}", "-o", directory / program, package,
                cwd=source, env=os.environ | {"CGO_ENABLED": "0"}, stderr=subprocess.PIPE, text=True)

    return cached(f"{module}-{version}-{fingerprint(source)}", build)


def version_of(source):
    """The version of what a module builds: that of the first module it requires, if it does not build its own."""
    required = re.search(r"^require \S+ (v\S+)", (source / "go.mod").read_text(), re.MULTILINE)
    return required[1] if required else "own"


def fingerprint(source):
    """Tells one state of a module's own files from another."""
    files = sorted(file for pattern in ["go.mod", "go.sum", "*.go"] for file in source.glob(pattern))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()[:12]


def source_of(module):
    """The directory with the source of the Go module that `module` builds."""
    file = MODULES / module
    check_go()
    required = re.search(r"^require (\S+) v", (file / "go.mod").read_text(), re.MULTILINE)[1]
    told = run("go", "mod", "download", "-json", required, cwd=file, capture_output=True, text=True).stdout
    return Path(json.loads(told)["Dir"])


@functools.cache
def unpacked(package):
    """The directory with the programs of a Debian package, which is not installed, so that no service starts."""
    shown = run("apt-cache", "show", "--no-all-versions", package, capture_output=True, text=True).stdout
    version = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)[1]

    def unpack(directory):
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"{package}={version}", cwd=directory,
            stdout=subprocess.DEVNULL)
        package_file = next(directory.glob("*.deb"))
        run("dpkg-deb", "-x", package_file, directory)
        package_file.unlink()

    return cached(f"{package}-{version}", unpack) / DEBIAN[package]


def cached(name, make):
    """The directory `name` of the cache; `make` fills it, and it appears only when it is complete."""
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
    """Runs a command, and ends everything with what it said if it fails."""
    try:
        return subprocess.run([str(word) for word in command], check=True, timeout=PATIENCE, **options)
    except FileNotFoundError:
        raise SystemExit(f"e2e: {command[0]} is not installed: it is needed to get the cluster's programs") from None
    except subprocess.TimeoutExpired:
        raise SystemExit(f"e2e: {' '.join(map(str, command))} took more than {PATIENCE} s") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error.stderr or ''}e2e: {' '.join(map(str, error.cmd))} failed") from None
