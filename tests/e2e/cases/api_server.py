"""The API server is away for a while. It is needed to find peers, and for nothing else."""

import json
import os
import re
import signal
import subprocess

from cluster.waiting import until
from mesh import PORT, listed
from report import expect
from waiting import Watch

# Of one agent, while the API server is away and when it comes back: one for each way of being away, and two to spare.
WARNINGS_MAX = 4


def away(bench):
    """The API server stops for two sweeps: the mesh goes on, and an agent that restarts meanwhile finds it by DNS"""
    nodes = bench.nodes
    sweeps = bench.mesh.by_node("iperf_mesh_sweep")
    watch = Watch()
    bench.cluster.stop_api()
    try:
        bench.until_swept(nodes, sweeps, "a sweep without API server")
        bench.until_swept(nodes, {node: sweep + 1 for node, sweep in sweeps.items()}, "two sweeps without API server")
        bench.note(f"two sweeps without it after {watch}")
        restart(bench, nodes[0])
        failures = bench.mesh.failures(watch)
    finally:
        back = Watch()
        bench.cluster.start_api()
    bench.note(f"failed meanwhile: {listed(failures) or 'nothing'}")
    expect(all(nodes[0] in cell for cell in failures), "cells of others than the killed agent failed")
    told = f"iperf_mesh_discovery_success_timestamp_seconds > {back.date}"
    until("all agents are told of pods again", lambda: len(bench.mesh.by_node(told)) == len(nodes), 150)
    bench.note(f"all agents are told of pods {back} after its start")
    # Nobody has heard of the nodes for a while; logs come by way of them.
    bench.kubectl("wait", "--for=condition=Ready", "node", *nodes, "--timeout=120s")
    for node in nodes:
        warnings = [line for line in bench.log(node, watch).splitlines() if level(line) in ("WARN", "ERROR")]
        bench.note(f"{node}: {len(warnings)} warnings")
        expect(1 <= len(warnings) <= WARNINGS_MAX, f"{node} warns {len(warnings)} times: {warnings}")


def restart(bench, node):
    """Kills an agent, and waits until it is in the mesh again."""
    watch = Watch()
    born = f'process_start_time_seconds{{instance="{node}"}}'
    before = bench.mesh.by_node(born)[node]
    kill_agent(bench, node)
    until("the killed agent again", lambda: bench.prometheus.query(f"{born} != {before}"), 60)
    bench.note(f"the agent killed on {node} runs again after {watch}")
    bench.until_full(since=watch.date)
    bench.note(f"the matrix is full and new after {watch}")


def kill_agent(bench, node):
    """Kills the agent's process; nobody is left to say goodbye."""
    said = subprocess.run(
        [*bench.cluster.inside(node), "ss", "-Hltnp", f"sport = :{PORT}"],
        capture_output=True, text=True, check=True, timeout=10,
    ).stdout
    os.kill(int(re.search(r"pid=(\d+)", said)[1]), signal.SIGKILL)


def level(line):
    try:
        return json.loads(line).get("level")
    except ValueError:
        return None
