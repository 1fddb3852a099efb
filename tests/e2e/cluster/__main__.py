"""Runs a cluster for manual use: `python3 tests/e2e/cluster up [IMAGE.tar ...]`.

`build` only gets the programs, and `check` only reports what this computer lacks.
"""

import signal
import sys
from pathlib import Path

# Python puts a directory that it runs on the path; the package needs its parent there.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from cluster import Cluster, programs  # noqa: E402


def main(arguments):
    """Runs the command."""
    if arguments == ["build"]:
        print(*programs.everything(), sep="\n")
    elif arguments == ["check"]:
        programs.check_computer()
    elif arguments[:1] == ["up"]:
        up(arguments[1:])
    else:
        raise SystemExit("usage: python3 tests/e2e/cluster check | build | up [IMAGE.tar ...]")


def up(images):
    """Runs a cluster whose nodes have the images until Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with Cluster() as cluster:
            for image in images:
                cluster.load_image(image)
            print(f"export KUBECONFIG={cluster.kubeconfig}")
            print(f"# kubectl: {programs.path('kubectl')}")
            print(f"# logs: {cluster.logs}")
            for where in ["control-plane", *cluster.nodes()]:
                print(f"# in the network of {where}: {' '.join(cluster.inside(where))} COMMAND")
            print("# Ctrl-C stops the cluster", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
