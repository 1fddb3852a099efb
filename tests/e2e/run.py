#!/usr/bin/env python3
"""Runs the end-to-end test on a real cluster: its own, or that of a kubeconfig.

tests/e2e/run.py --image target/image.tar                          its own cluster, on this machine
tests/e2e/run.py --kubeconfig FILE --image registry.example/…:tag  an existing one, for tests only
"""

import argparse
import json
import re
import signal
import sys
import tarfile
import tempfile
from pathlib import Path

import cases
from bench import Bench
from cluster import Cluster, programs
from existing import ExistingCluster
from kubectl import Kubectl
from monitoring import Monitoring
from overlay import ROOT, Overlays
from report import Failure, Report

SCRATCH = ROOT / "target/e2e"


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", help="use this existing cluster instead of creating one")
    parser.add_argument(
        "--image", required=True, help="a file from `docker save`; with --kubeconfig, a name"
    )
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        help="run these cases (such as nodes.join) and those they need",
    )
    arguments = parser.parse_args()
    check(arguments)
    return arguments


def check(arguments):
    """Exits before creating anything if the image is not of the kind that the cluster needs."""
    image, kubeconfig = arguments.image, arguments.kubeconfig
    if not kubeconfig and not Path(image).is_file():
        sys.exit(
            f"e2e: --image {image}: expected a file from `docker save`, because the test creates "
            "the cluster: `make image` writes target/image.tar. Use a name only with --kubeconfig "
            "(with make: KUBECONFIG=FILE)"
        )
    if kubeconfig and not Path(kubeconfig).is_file():
        sys.exit(
            f"e2e: --kubeconfig {kubeconfig}: expected a file: `kind get kubeconfig >FILE` writes "
            "one"
        )
    # A slash follows the port of a registry, and a digest is not a tag.
    if kubeconfig and not re.fullmatch(r"[^\s@]+:[\w.-]+", image):
        sys.exit(
            f"e2e: --image {image}: with --kubeconfig, expected a name and tag that the nodes "
            "have or can pull: --image registry.example/iperf3-mesh:1.2.3 (with make: IMAGE=NAME:TAG)"
        )


def image_name(tar):
    with tarfile.open(tar) as archive:
        (image,) = json.load(archive.extractfile("manifest.json"))
    return image["RepoTags"][0]


def name(case):
    return f"{case.__module__.removeprefix('cases.')}.{case.__name__}"


def chosen(only):
    """Returns the cases to run: all, or the named ones and those that all others need."""
    known = {name(case) for case in cases.ALL}
    if unknown := set(only) - known:
        sys.exit(
            f"e2e: unknown case {', '.join(unknown)}; expected {', '.join(map(name, cases.ALL))}"
        )
    return [case for case in cases.ALL if not only or case in cases.NEEDED or name(case) in only]


def run(cluster, kubectl, image, only, report):
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        overlays = Overlays(Path(scratch, "overlays"), image)
        monitoring = Monitoring(cluster, kubectl, Path(scratch, "monitoring"))
        bench = Bench(cluster, kubectl, overlays, monitoring, report)
        try:
            for case in chosen(only):
                title = f"{case.__doc__.splitlines()[0]} [{name(case)}]"
                if not report.run(title, lambda: case(bench)) and case in cases.NEEDED:
                    raise Failure(f"{name(case)} failed, and all other cases need it")
        finally:
            monitoring.stop()
    if report.failed:
        raise Failure(f"{report.failed} cases failed")


def main():
    arguments = options()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report = Report()
    try:
        if arguments.kubeconfig:
            with ExistingCluster(arguments.kubeconfig, SCRATCH / "logs") as cluster:
                run(cluster, cluster.kubectl, arguments.image, arguments.only, report)
        else:
            with Cluster() as cluster:
                report.note(f"the cluster of {len(cluster.nodes())} nodes is ready")
                cluster.load_image(arguments.image)
                kubectl = Kubectl(programs.path("kubectl"), cluster.kubeconfig)
                run(cluster, kubectl, image_name(arguments.image), arguments.only, report)
    except Failure as failure:
        sys.exit(f"e2e: {failure}")
    except KeyboardInterrupt:
        sys.exit("e2e: interrupted")
    finally:
        print(report.table())


if __name__ == "__main__":
    main()
