"""A setting changes: a rolling update of all agents."""

from cluster.waiting import until
from mesh import listed
from report import expect
from waiting import Watch


def change(bench):
    """A changed setting restarts the agents one after the other, and nothing fails"""
    watch = Watch()
    bench.apply("kube-prometheus", "grafana-dashboard", IPERF_UDP_BITRATE="4M")
    bench.roll_out()
    bench.note(f"rolled out after {watch}")
    bench.until_full(since=watch.date)
    bench.note(f"the matrix is full and new after {watch}")
    changed = 'abs(iperf_network_bandwidth_mbps{protocol="udp"} - 4) < 0.4'
    cells = len(bench.nodes) * (len(bench.nodes) - 1)
    until("results with the new setting", lambda: len(bench.mesh.by_cell(changed)) == cells, 120)
    failures, alerts = bench.mesh.failures(watch), bench.mesh.alerts(watch)
    expect(not failures, f"cells failed meanwhile: {listed(failures)}")
    expect(not alerts, f"alerts meanwhile: {alerts}")
