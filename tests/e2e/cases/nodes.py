"""Draining, losing, adding and replacing nodes."""

from cluster.waiting import until
from mesh import NAMESPACE, PROTOCOLS, QUIET, summary
from report import expect
from waiting import Stopwatch


def drain(bench):
    """Cordon, drain and uncordon: the agent and its node stay in the matrix, and no cell fails"""
    node = bench.nodes[-1]
    stopwatch = Stopwatch()
    before = bench.pods()[node]["metadata"]["uid"]
    try:
        bench.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s"
        )
        bench.until_full(since=Stopwatch().date)
        expect(bench.pods()[node]["metadata"]["uid"] == before, "the pod was replaced")
    finally:
        bench.kubectl("uncordon", node)
    failures = bench.mesh.failures(stopwatch)
    expect(not failures, f"cells failed meanwhile: {summary(failures)}")
    bench.note(f"the matrix is full, new and without failures for {stopwatch}")


def power_cut(bench):
    """A node loses its power: its column fails and raises one alert, until the node is deleted"""
    node = bench.nodes[-1]
    stopwatch = Stopwatch()
    bench.cluster.kill_node(node)
    try:
        dead(bench, node, stopwatch)
    finally:
        stopwatch = Stopwatch()
        bench.kubectl("delete", "node", node)
    series = f'{{__name__=~"iperf_.*", destination_node="{node}"}}'
    until("the series of the node are gone", lambda: not bench.prometheus.query(series), 300)
    bench.note(f"its series are gone {stopwatch} after the deletion of its Node object")
    until(
        "the alert is over", lambda: not bench.prometheus.query('ALERTS{alertstate="firing"}'), 180
    )
    bench.note(f"the alert is over after {stopwatch}")
    bench.until_full(since=Stopwatch().date)


def dead(bench, node, stopwatch):
    """Checks the state of the mesh while `node` is dead and its Node object exists."""
    column = {(other, node, protocol) for other in bench.nodes for protocol in PROTOCOLS}
    failing = f'iperf_mesh_cell_failure{{destination_node="{node}"}}'
    until(
        "the column fails",
        lambda: bench.mesh.by_cell(failing).keys() == column,
        5 * bench.mesh.period(),
    )
    reasons = sorted({labels["reason"] for labels, _ in bench.prometheus.query(failing)})
    bench.note(
        f"all {len(column)} cells of the column fail after {stopwatch} ({', '.join(reasons)})"
    )
    until("the node is not ready", lambda: not is_ready(bench, node), 120)
    bench.note(f"the node is not ready after {stopwatch}")
    until("an alert fires", lambda: bench.mesh.alerts(stopwatch), 600)
    firing = bench.prometheus.query('ALERTS{alertstate="firing"}')
    alerts = [f"{labels['alertname']} ({labels.get('node', 'no node')})" for labels, _ in firing]
    bench.note(f"{', '.join(alerts)} after {stopwatch}")
    expect(
        alerts == [f"IperfMeshNodeImpaired ({node})"],
        "this is not the one alert that the node should raise",
    )
    failures = {
        cell: reasons
        for cell, reasons in bench.mesh.failures(stopwatch).items()
        if node not in cell
    }
    expect(not failures, f"cells between the other nodes failed: {summary(failures)}")
    restarted_agent(bench, bench.nodes[0], node)


def restarted_agent(bench, node, dead_node):
    """Checks that an agent that has never seen the dead node counts it as missing, too."""
    stopwatch = Stopwatch()
    bench.kubectl("delete", "pod", "-n", NAMESPACE, bench.pods()[node]["metadata"]["name"])
    cells = f'{{source_node="{node}",destination_node="{dead_node}"}}'
    is_new = f"iperf_test_timestamp_seconds{cells} > {stopwatch.date}"
    failing = f"iperf_mesh_cell_failure{cells} and on (protocol) {is_new}"
    until(
        "the new row has the dead node",
        lambda: len(bench.mesh.by_cell(failing)) == len(PROTOCOLS),
        QUIET + 60,
    )
    bench.note(
        f"the cells of a restarted agent (on {node}) to the dead node fail after {stopwatch}"
    )


def is_ready(bench, node):
    conditions = bench.kubectl.get("node", node)["status"]["conditions"]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def join(bench):
    """A node joins: its row and column appear"""
    node = "node4"
    stopwatch = Stopwatch()
    bench.cluster.add_node(node)
    bench.note(f"the node is ready after {stopwatch}")
    bench.until_full()
    bench.note(f"the matrix of {len(bench.nodes)} nodes is full after {stopwatch}")


def replace(bench):
    """A node is replaced in one go: no agent counts the old one, and no alert fires"""
    old, new = bench.nodes[-1], "node5"
    stopwatch = Stopwatch()
    bench.cluster.kill_node(old)
    bench.kubectl("delete", "node", old)
    bench.cluster.add_node(new)
    bench.until_full()
    bench.note(f"the matrix of {', '.join(bench.nodes)} is full after {stopwatch}")
    alerts = bench.mesh.alerts(stopwatch)
    expect(not alerts, f"alerts fired meanwhile: {alerts}")
