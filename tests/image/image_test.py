#!/usr/bin/env python3
"""Checks the image in the manifests: its contents, and whether two of its agents can measure each
other.

The agents run on two loopback addresses, with the DaemonSet's security settings.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests/manifests"))

import containers  # noqa: E402
import contents  # noqa: E402
import kustomize  # noqa: E402
import loopback  # noqa: E402
import validators  # noqa: E402
from containers import docker  # noqa: E402

# The quiet time takes a minute, and the sweep some seconds.
PATIENCE = 240
IPERF3_MIN = (3, 18)
QUICK = {
    "IPERF_TEST_PROTOCOL": "both",
    "IPERF_TEST_DURATION": "1s",
    "IPERF_TEST_INTERVAL": "2s",
    "IPERF_BITRATE": "200M",
}


def addresses():
    """Returns two addresses that no other running test uses."""
    return [loopback.address(1), loopback.address(2)]


def environment(own, other):
    return QUICK | {
        "SOURCE_NODE_NAME": own,
        "MESH_ADVERTISE_ADDRESS": own,
        "MESH_DISCOVERY": "static",
        "MESH_JOIN": other,
        "MESH_KEY_FILE": "",
        "MESH_INSECURE": "true",
    }


def cells(container, address):
    """Returns the cells from the command `matrix` in the container."""
    answer = docker(
        "exec", container, "iperf3-mesh", "matrix", "-o", "json", f"{address}:9876", check=False
    )
    return json.loads(answer)["cells"] if answer else []


def measured(found):
    return len(found) == 4 and all(cell["success"] and cell["bandwidth_mbps"] > 0 for cell in found)


def iperf3_problems(image):
    version = docker(
        "run", "--rm", "--entrypoint=/usr/bin/iperf3", image, "--version"
    ).splitlines()[0]
    print(version)
    if tuple(int(part) for part in re.search(r"(\d+)\.(\d+)", version).groups()) < IPERF3_MIN:
        yield f"{version} is older than {IPERF3_MIN}"


def meeting_problems(objects, image):
    """Starts two agents, waits until both directions of both protocols are measured, and stops
    them.
    """
    first, second = addresses()
    running = {}
    try:
        running[first] = containers.start(objects, image, environment(first, second))
        running[second] = containers.start(objects, image, environment(second, first))
        deadline = time.monotonic() + PATIENCE
        while not measured(found := cells(running[first], first)):
            if time.monotonic() > deadline:
                yield f"after {PATIENCE} s the cells are {found}"
                yield from (containers.logs(one) for one in running.values())
                return
            time.sleep(1)
        for cell in found:
            print(
                "{source_node} to {destination_node}, {protocol}: {bandwidth_mbps:.0f} Mbit/s".format(
                    **cell
                )
            )
        for one in running.values():
            yield from stop_problems(
                one, validators.pod_spec(objects)["terminationGracePeriodSeconds"]
            )
    finally:
        for one in running.values():
            docker("rm", "--force", one)


def stop_problems(container, grace):
    """Stops a container. If docker has to kill it after the grace period, the exit status shows
    that.
    """
    start = time.monotonic()
    docker("stop", "--time", str(grace), container)
    status = docker("inspect", "--format", "{{.State.ExitCode}}", container).strip()
    print(f"stopped after {time.monotonic() - start:.1f} s with status {status}")
    if status != "0":
        yield f"after a stop, the agent exits with {status}"
        yield containers.logs(container)


def main():
    objects = kustomize.build(Path(sys.executable).parent / "kubectl", kustomize.BASE)
    image = validators.container(objects)["image"]
    context = validators.pod_spec(objects)["securityContext"]
    version = subprocess.run(
        [ROOT / "scripts/version.sh"], check=True, capture_output=True, text=True
    ).stdout.strip()
    found = contents.read(ROOT / "target/image.tar")
    checks = {
        "contents": contents.problems(
            found, version, f"{context['runAsUser']}:{context['runAsGroup']}"
        ),
        "iperf3": iperf3_problems(image),
        "two agents": meeting_problems(objects, image),
    }
    failed = 0
    for what, results in checks.items():
        problems = list(results)
        failed += bool(problems)
        print(*(f"{what}: {one}" for one in problems), sep="\n", end="\n" if problems else "")
    print(f"image: {len(checks) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
