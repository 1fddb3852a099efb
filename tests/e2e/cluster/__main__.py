"""Holds a cluster by hand: `python3 tests/e2e/cluster up`; `build` only gets the programs."""

import signal
import sys
from pathlib import Path

# A directory that is run finds its own files as modules, not itself as a package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from cluster import Cluster, programs  # noqa: E402


def main(arguments):
    """Runs the command."""
    if arguments == ["build"]:
        print(*programs.everything(), sep="\n")
    elif arguments == ["up"]:
        up()
    else:
        raise SystemExit("usage: python3 tests/e2e/cluster build | up")


def up():
    """Keeps a cluster until Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with Cluster() as cluster:
            print(f"export KUBECONFIG={cluster.kubeconfig}")
            print(f"# kubectl: {programs.path('kubectl')}, logs: {cluster.logs}; Ctrl-C ends the cluster", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
