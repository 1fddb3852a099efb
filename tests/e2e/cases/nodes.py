"""Nodes that are drained, die and join."""

from cluster.waiting import until
from mesh import NAMESPACE, PROTOCOLS, QUIET, listed
from report import expect
from waiting import Watch


def drain(bench):
    """cordon, drain and uncordon: the agent stays, as DaemonSets do, and the node stays in the matrix"""
    node = bench.nodes[-1]
    watch = Watch()
    before = bench.pods()[node]["metadata"]["uid"]
    try:
        bench.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
        bench.until_full(since=Watch().date)
        expect(bench.pods()[node]["metadata"]["uid"] == before, "the pod was replaced")
    finally:
        bench.kubectl("uncordon", node)
    failures = bench.mesh.failures(watch)
    expect(not failures, f"cells failed meanwhile: {listed(failures)}")
    bench.note(f"full, new and without failures for {watch}")


def power_cut(bench):
    """A node loses its power: its column fails and raises one alert; it goes when the node object is deleted"""
    node = bench.nodes[-1]
    watch = Watch()
    bench.cluster.kill_node(node)
    try:
        dead(bench, node, watch)
    finally:
        watch = Watch()
        bench.kubectl("delete", "node", node)
    there = f'{{__name__=~"iperf_.*", destination_node="{node}"}}'
    until("the series of the node are gone", lambda: not bench.prometheus.query(there), 300)
    bench.note(f"its series are gone {watch} after the deletion of the node object")
    until("the alert is over", lambda: not bench.prometheus.query('ALERTS{alertstate="firing"}'), 180)
    bench.note(f"the alert is over after {watch}")
    bench.until_full(since=Watch().date)


def dead(bench, node, watch):
    """What is to be seen of `node` as long as its object is there."""
    column = {(other, node, protocol) for other in bench.nodes for protocol in PROTOCOLS}
    failing = f'iperf_mesh_cell_failure{{destination_node="{node}"}}'
    until("the column fails", lambda: bench.mesh.by_cell(failing).keys() == column, 5 * bench.mesh.period())
    reasons = sorted({labels["reason"] for labels, _ in bench.prometheus.query(failing)})
    bench.note(f"all {len(column)} cells of the column fail after {watch} ({', '.join(reasons)})")
    until("the node is not ready", lambda: not is_ready(bench, node), 120)
    bench.note(f"the node is not ready after {watch}")
    until("an alert", lambda: bench.mesh.alerts(watch), 600)
    firing = bench.prometheus.query('ALERTS{alertstate="firing"}')
    alerts = [f"{labels['alertname']} ({labels.get('node', 'no node')})" for labels, _ in firing]
    bench.note(f"{', '.join(alerts)} after {watch}")
    expect(alerts == [f"IperfMeshNodeImpaired ({node})"], "that is not the one alert that the node should raise")
    failures = {cell: reasons for cell, reasons in bench.mesh.failures(watch).items() if node not in cell}
    expect(not failures, f"cells between the others failed: {listed(failures)}")
    newcomer(bench, bench.nodes[0], node)


def newcomer(bench, here, dead_node):
    """An agent that never saw the dead node misses it, too."""
    watch = Watch()
    bench.kubectl("delete", "pod", "-n", NAMESPACE, bench.pods()[here]["metadata"]["name"])
    cells = f'{{source_node="{here}",destination_node="{dead_node}"}}'
    failing = f"iperf_mesh_cell_failure{cells} and on (protocol) iperf_test_timestamp_seconds{cells} > {watch.date}"
    until("the column in a new row", lambda: len(bench.mesh.by_cell(failing)) == len(PROTOCOLS), QUIET + 60)
    bench.note(f"an agent that starts meanwhile, on {here}, fails its cells to the dead node after {watch}")


def is_ready(bench, node):
    conditions = bench.kubectl.get("node", node)["status"]["conditions"]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def join(bench):
    """A node joins: its row and its column appear"""
    node = "node4"
    watch = Watch()
    bench.cluster.add_node(node)
    bench.note(f"the node is ready after {watch}")
    bench.until_full()
    bench.note(f"the matrix of {len(bench.nodes)} nodes is full after {watch}")


def replace(bench):
    """A node is replaced in one go: nobody takes the old one for part of the mesh, not even who never saw it"""
    old, new = bench.nodes[-1], "node5"
    watch = Watch()
    bench.cluster.kill_node(old)
    bench.kubectl("delete", "node", old)
    bench.cluster.add_node(new)
    bench.until_full()
    bench.note(f"the matrix of {', '.join(bench.nodes)} is full after {watch}")
    alerts = bench.mesh.alerts(watch)
    expect(not alerts, f"alerts meanwhile: {alerts}")
