"""An outage of the API server, which the agents need only to find their first peers."""

import json
import os
import re
import signal
import subprocess

from cluster.waiting import until
from mesh import PORT, summary
from report import expect
from waiting import Stopwatch

# The warnings of one agent during the outage and at its end: one for each kind of failure, and two
# to spare.
WARNINGS_MAX = 4


def outage(bench):
    """The API server stops for two sweeps: measuring continues, and a restarted agent uses DNS"""
    nodes = bench.nodes
    sweeps = bench.mesh.by_node("iperf_mesh_sweep")
    stopwatch = Stopwatch()
    bench.cluster.stop_api()
    try:
        bench.until_swept(nodes, sweeps, "a sweep without API server")
        bench.until_swept(
            nodes,
            {node: sweep + 1 for node, sweep in sweeps.items()},
            "two sweeps without API server",
        )
        bench.note(f"two sweeps without it after {stopwatch}")
        restart(bench, nodes[0])
        failures = bench.mesh.failures(stopwatch)
    finally:
        back = Stopwatch()
        bench.cluster.start_api()
    bench.note(f"failed meanwhile: {summary(failures) or 'nothing'}")
    expect(all(nodes[0] in cell for cell in failures), "a cell without the killed agent failed")
    discovered = f"iperf_mesh_discovery_success_timestamp_seconds > {back.date}"
    until(
        "all agents get pods from the API again",
        lambda: len(bench.mesh.by_node(discovered)) == len(nodes),
        150,
    )
    bench.note(f"all agents get pods from the API {back} after its start")
    # The control plane reads logs through the nodes, which it has not heard from for a while.
    bench.kubectl("wait", "--for=condition=Ready", "node", *nodes, "--timeout=120s")
    for node in nodes:
        warnings = [
            line
            for line in bench.log(node, stopwatch).splitlines()
            if level(line) in ("WARN", "ERROR")
        ]
        bench.note(f"{node}: {len(warnings)} warnings")
        expect(
            1 <= len(warnings) <= WARNINGS_MAX, f"{node} logs {len(warnings)} warnings: {warnings}"
        )


def restart(bench, node):
    """Kills an agent, and waits until it is in the mesh again."""
    stopwatch = Stopwatch()
    start_time = f'process_start_time_seconds{{instance="{node}"}}'
    before = bench.mesh.by_node(start_time)[node]
    kill_agent(bench, node)
    until(
        "the killed agent runs again",
        lambda: bench.prometheus.query(f"{start_time} != {before}"),
        60,
    )
    bench.note(f"the agent killed on {node} runs again after {stopwatch}")
    bench.until_full(since=stopwatch.date)
    bench.note(f"the matrix is full and new after {stopwatch}")


def kill_agent(bench, node):
    """Kills the agent's process, so that it cannot say goodbye."""
    listener = subprocess.run(
        [*bench.cluster.inside(node), "ss", "-Hltnp", f"sport = :{PORT}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout
    os.kill(int(re.search(r"pid=(\d+)", listener)[1]), signal.SIGKILL)


def level(line):
    try:
        return json.loads(line).get("level")
    except ValueError:
        return None
