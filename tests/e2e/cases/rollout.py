"""A changed setting, which causes a rolling update of all agents."""

from cluster.waiting import until
from mesh import summary
from report import expect
from waiting import Stopwatch


def change(bench):
    """A changed setting restarts the agents one after the other, and no cell fails"""
    stopwatch = Stopwatch()
    bench.apply("kube-prometheus", "grafana-dashboard", IPERF_UDP_BITRATE="4M")
    bench.roll_out()
    bench.note(f"rolled out after {stopwatch}")
    bench.until_full(since=stopwatch.date)
    bench.note(f"the matrix is full and new after {stopwatch}")
    changed = 'abs(iperf_network_bandwidth_mbps{protocol="udp"} - 4) < 0.4'
    cells = len(bench.nodes) * (len(bench.nodes) - 1)
    until(
        "the results have the new setting", lambda: len(bench.mesh.by_cell(changed)) == cells, 120
    )
    failures, alerts = bench.mesh.failures(stopwatch), bench.mesh.alerts(stopwatch)
    expect(not failures, f"cells failed meanwhile: {summary(failures)}")
    expect(not alerts, f"alerts fired meanwhile: {alerts}")
