#!/usr/bin/env python3
"""Shows on a real cluster that everything works: one that it makes itself, or that of a kubeconfig.

  tests/e2e/run.py --image target/image.tar                          a cluster of its own, on this machine
  tests/e2e/run.py --kubeconfig FILE --image registry.example/…:tag  one that exists, for tests only
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
from existing import Existing
from kubectl import Kubectl
from monitoring import Monitoring
from overlay import ROOT, Overlays
from report import Failure, Report

SCRATCH = ROOT / "target/e2e"


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", help="a cluster that exists, instead of one that is made")
    parser.add_argument("--image", required=True, help="what `docker save` wrote; a name, with --kubeconfig")
    parser.add_argument("--only", nargs="*", default=[], help="cases to run, such as nodes.join, and those they need")
    asked = parser.parse_args()
    check(asked)
    return asked


def check(asked):
    """Ends before anything is made if the image is not of the kind that the cluster takes."""
    image, kubeconfig = asked.image, asked.kubeconfig
    if not kubeconfig and not Path(image).is_file():
        sys.exit(f"e2e: --image {image}: expected a file that `docker save` wrote, for the cluster that is made here: "
                 "`make image` writes target/image.tar; a name goes with --kubeconfig (of make: KUBECONFIG=FILE) only")
    if kubeconfig and not Path(kubeconfig).is_file():
        sys.exit(f"e2e: --kubeconfig {kubeconfig}: expected a file: `kind get kubeconfig >FILE` writes one")
    # A port of a registry is followed by a slash, and a digest is no tag.
    if kubeconfig and not re.fullmatch(r"[^\s@]+:[\w.-]+", image):
        sys.exit(f"e2e: --image {image}: with --kubeconfig, expected a name with a tag, which nodes have or can pull: "
                 "--image registry.example/iperf3-mesh:1.2.3 (of make: IMAGE=NAME:TAG)")


def image_name(tar):
    with tarfile.open(tar) as archive:
        (image,) = json.load(archive.extractfile("manifest.json"))
    return image["RepoTags"][0]


def name(case):
    return f"{case.__module__.removeprefix('cases.')}.{case.__name__}"


def chosen(only):
    """The cases to run: all, or those that others need and the named ones."""
    named = {name(case): case for case in cases.ALL}
    if unknown := set(only) - named.keys():
        sys.exit(f"e2e: there is no case {', '.join(unknown)}; there are {', '.join(named)}")
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
                    raise Failure(f"{name(case)} failed, and without it the other cases have nothing to look at")
        finally:
            monitoring.stop()
    if report.failed:
        raise Failure(f"{report.failed} cases failed")


def main():
    asked = options()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report = Report()
    try:
        if asked.kubeconfig:
            with Existing(asked.kubeconfig, SCRATCH / "logs") as cluster:
                run(cluster, cluster.kubectl, asked.image, asked.only, report)
        else:
            with Cluster() as cluster:
                report.note(f"a cluster of {len(cluster.nodes())} nodes is there")
                cluster.load_image(asked.image)
                kubectl = Kubectl(programs.path("kubectl"), cluster.kubeconfig)
                run(cluster, kubectl, image_name(asked.image), asked.only, report)
    except Failure as failure:
        sys.exit(f"e2e: {failure}")
    except KeyboardInterrupt:
        sys.exit("e2e: interrupted")
    finally:
        print(report.table())


if __name__ == "__main__":
    main()
