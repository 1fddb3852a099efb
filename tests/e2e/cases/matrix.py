"""The matrix in Prometheus: each cell once, with correct labels and values."""

import sys
from itertools import permutations

from mesh import CELL, PROTOCOLS
from overlay import ROOT
from report import expect
from waiting import Stopwatch
from cluster.waiting import until

sys.path.append(str(ROOT / "tests/manifests"))
import contract
import dashboards_test

LABELS = {"__name__", *CELL, "endpoint", "instance", "job", "namespace"}
TOLERANCE = 0.05
# A single result on a busy machine may be wrong, so the case uses the median of several.
RESULTS = 3


def cells(bench):
    """Prometheus has each cell once, with the correct labels"""
    stopwatch = Stopwatch()
    bench.until_full()
    bench.note(f"the matrix is full after {stopwatch}")
    wanted = {(*pair, protocol) for pair in permutations(bench.nodes, 2) for protocol in PROTOCOLS}
    found = bench.prometheus.query("iperf_network_bandwidth_mbps")
    expect(len(found) == len(wanted), f"{len(found)} series instead of {len(wanted)}")
    for labels, _ in found:
        expect(set(labels) == LABELS, f"labels {sorted(labels)} instead of {sorted(LABELS)}")
        target = {key: labels[key] for key in ["instance", "job", "namespace"]}
        correct = {
            "instance": labels["source_node"],
            "job": "iperf3-mesh",
            "namespace": "iperf3-mesh",
        }
        expect(target == correct, f"{target} instead of {correct}")
    udp = {cell for cell in wanted if cell[2] == "udp"}
    for metric in ["iperf_network_jitter_ms", "iperf_network_loss_ratio"]:
        expect(
            bench.mesh.by_cell(metric).keys() == udp,
            f"{metric} does not exist for exactly the UDP cells",
        )


def values(bench):
    """TCP results are within 5 % of the links' capacity"""
    rates = {pair: bench.cluster.rate(*pair) for pair in permutations(bench.nodes, 2)}
    several = f'changes(iperf_test_timestamp_seconds{{protocol="tcp"}}[10m]) >= {RESULTS - 1}'
    until(
        f"{RESULTS} results of each cell",
        lambda: len(bench.mesh.by_cell(several)) == len(rates),
        300,
    )
    median = bench.mesh.by_cell(
        'quantile_over_time(0.5, iperf_network_bandwidth_mbps{protocol="tcp"}[10m])'
    )
    bench.note("Mbit/s          measured  allowed   wire  error")
    errors = {}
    for (source, destination), rate in rates.items():
        measured, allowed = (
            median[source, destination, "tcp"],
            bench.cluster.goodput(source, destination),
        )
        errors[source, destination] = error = measured / allowed - 1
        bench.note(
            f"{source} -> {destination}  {measured:8.1f} {allowed:8.1f} {rate:6.0f} {error:+6.1%}"
        )
    loss = max(bench.mesh.by_cell("iperf_network_loss_ratio").values())
    jitter = max(bench.mesh.by_cell("iperf_network_jitter_ms").values())
    bench.note(f"UDP: loss up to {loss:.2%}, jitter up to {jitter:.2f} ms")
    wrong = [pair for pair, error in errors.items() if abs(error) > TOLERANCE]
    expect(not wrong, f"more than {TOLERANCE:.0%} off: {wrong}")


def dashboards(bench):
    """All queries of the dashboards return series, and so do those in contract.py"""
    source, destination, *_ = bench.nodes
    dashboards_test.VARIABLES |= {"source_node": source, "destination_node": destination}
    prometheus = Counting(bench.prometheus)
    passed, failed = dashboards_test.check(prometheus)
    failed += contract.queries(prometheus, dashboards_test.substituted)
    bench.note(f"{passed} queries of dashboards return series")
    expect(not failed, "; ".join(failed))


class Counting:
    """Prometheus with the interface that those checks use."""

    def __init__(self, prometheus):
        self.prometheus = prometheus

    def query(self, expression):
        """Returns the number of series in the answer."""
        return len(self.prometheus.query(expression))
