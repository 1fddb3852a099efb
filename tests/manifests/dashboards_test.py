#!/usr/bin/env python3
"""Runs every query of every dashboard on a real Prometheus that scrapes a real mesh (the binary
$1).

This includes the queries of the dashboards' variables and those in `contract`. A query must return
series, except if it asks for failures; then it only has to be valid.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import contract
from prometheus import Prometheus

DASHBOARDS = Path(__file__).parents[2] / "kustomize/components/grafana-dashboard"
NODES = ["node1", "node2", "node3"]
PATIENCE = 90
# A healthy mesh has no series of this metric.
FAILURES = re.compile(r"iperf_mesh_cell_failure")
VARIABLES = {
    "job": "iperf3-mesh",
    "source_node": NODES[0],
    "destination_node": NODES[1],
    "protocol": "udp",
}


def expressions(dashboard):
    """Yields every query of the panels and of the variables, as (where, PromQL)."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            yield f"${variable['name']}", f"group by ({selector[2]}) ({selector[1]})"


def substituted(expression):
    return re.sub(r"\$(\w+)", lambda name: VARIABLES[name[1]], expression)


def mesh_addresses(mesh):
    """Returns the nodes' addresses. They are consecutive, and the mesh prints the first."""
    for line in mesh.stdout:
        if first := re.search(r"http://(127\.\d+\.\d+)\.1:(\d+)/", line):
            return [f"{first[1]}.{number}:{first[2]}" for number in range(1, len(NODES) + 1)]
    sys.exit("the mesh did not start")


def wait_for_matrix(prometheus):
    cells = len(NODES) * (len(NODES) - 1) * 2
    deadline = time.monotonic() + PATIENCE
    while not prometheus.has("iperf_test_success == 1 and iperf_network_bandwidth_mbps > 0", cells):
        if time.monotonic() > deadline:
            sys.exit(f"no matrix of {cells} cells within {PATIENCE} s")
        time.sleep(0.5)
    # A rate needs two samples, and the sweep's own metrics appear at its end.
    while not prometheus.has(
        "rate(iperf_mesh_meeting_seconds_total[15m]) and iperf_mesh_sweep_duration_seconds", 3
    ):
        if time.monotonic() > deadline:
            sys.exit(f"no complete sweep within {PATIENCE} s")
        time.sleep(0.5)


def check(prometheus):
    passed, failed = 0, []
    for file in sorted(DASHBOARDS.glob("*.json")):
        for where, expression in expressions(json.loads(file.read_text())):
            found = prometheus.query(substituted(expression))
            if found or FAILURES.search(expression):
                passed += 1
            else:
                failed.append(f"{file.name}: {where}: no series for {substituted(expression)}")
    return passed, failed


def main():
    command = [
        sys.argv[1],
        "local",
        "--nodes",
        str(len(NODES)),
        "--protocol",
        "both",
        "--interval",
        "1s",
    ]
    mesh = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    prometheus = None
    with tempfile.TemporaryDirectory() as scratch:
        try:
            prometheus = Prometheus(mesh_addresses(mesh), scratch)
            wait_for_matrix(prometheus)
            passed, failed = check(prometheus)
            failed += contract.queries(prometheus, substituted)
        finally:
            for process in [mesh, *([prometheus.process] if prometheus else [])]:
                process.terminate()
                process.wait(timeout=20)
    print(*failed, sep="\n", end="\n" if failed else "")
    print(f"dashboards: {passed} passed, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
