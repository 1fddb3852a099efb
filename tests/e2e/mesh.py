"""The mesh as Prometheus sees it.

All cases observe the mesh through Prometheus: it shows what a user sees, continues while the API
server is down, and records what happened in the meantime.
"""

from itertools import permutations

from report import Failure
from waiting import until_nothing

NAMESPACE = "iperf3-mesh"
PORT = 9876
PROTOCOLS = ["tcp", "udp"]
# The quiet time of an agent after its start, in seconds.
QUIET = 61
CELL = ("source_node", "destination_node", "protocol")


def name(cell):
    return "{} -> {} {}".format(*cell)


def summary(failures):
    """Formats the result of `Mesh.failures`."""
    return ", ".join(
        f"{name(cell)} ({', '.join(reasons)})" for cell, reasons in sorted(failures.items())
    )


class Mesh:
    def __init__(self, prometheus):
        self.prometheus = prometheus

    def by_cell(self, expression):
        """Returns values by (source, destination, protocol)."""
        return {
            tuple(labels[one] for one in CELL): value
            for labels, value in self.prometheus.query(expression)
        }

    def by_node(self, expression):
        """Returns values by the agent that exports them."""
        return {labels["instance"]: value for labels, value in self.prometheus.query(expression)}

    def period(self):
        """Returns the seconds from one sweep to the next."""
        periods = self.by_node(
            "iperf_mesh_sweep_duration_seconds + on (instance) iperf_mesh_pause_seconds"
        )
        if not periods:
            raise Failure("no agent has completed a sweep yet")
        return max(periods.values())

    def deviations(self, nodes, since=0):
        """Yields the deviations from a matrix of exactly `nodes`, all cells successful and newer
        than `since`.
        """
        success = self.by_cell("iperf_test_success")
        ended = self.by_cell("iperf_test_timestamp_seconds")
        wanted = {(*pair, protocol) for pair in permutations(nodes, 2) for protocol in PROTOCOLS}
        for cell in sorted(success.keys() | wanted):
            if cell not in wanted:
                yield f"{name(cell)} is unexpected"
            elif cell not in success:
                yield f"{name(cell)} is missing"
            elif not success[cell]:
                yield f"{name(cell)} fails"
            elif ended.get(cell, 0) < since:
                yield f"{name(cell)} is old"

    def until_full(self, nodes, within, since=0):
        """Waits for a matrix of exactly `nodes`, all of it newer than `since`."""
        what = f"the matrix of {', '.join(nodes)} is full"
        until_nothing(what, lambda: self.deviations(nodes, since), within)

    def failures(self, stopwatch):
        """Returns the cells that have failed since `stopwatch` started, with all their reasons."""
        found = self.prometheus.query(
            f"last_over_time(iperf_mesh_cell_failure[{stopwatch.seconds:.0f}s])"
        )
        failures = {}
        for labels, _ in found:
            failures.setdefault(tuple(labels[one] for one in CELL), []).append(labels["reason"])
        return failures

    def alerts(self, stopwatch):
        """Returns the names of the alerts that have fired since `stopwatch` started."""
        window = f"{stopwatch.seconds:.0f}s"
        found = self.prometheus.query(f'last_over_time(ALERTS{{alertstate="firing"}}[{window}])')
        return sorted({labels["alertname"] for labels, _ in found})

    def is_swept(self, nodes, sweeps):
        """Whether each of `nodes` is at least two sweeps beyond `sweeps`, so that it has completed
        a whole one.
        """
        now = self.by_node("iperf_mesh_sweep")
        return all(now.get(node, 0) >= sweeps[node] + 2 for node in nodes)
