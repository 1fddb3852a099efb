"""The mesh as Prometheus sees it. Prometheus is the one witness of all cases: it sees what a user sees, it goes on when
the API server does not, and it remembers what was in between."""

from itertools import permutations

from report import Failure
from waiting import until_nothing

NAMESPACE = "iperf3-mesh"
PORT = 9876
PROTOCOLS = ["tcp", "udp"]
# How long an agent stays out of all tests after its start.
QUIET = 61
CELL = ("source_node", "destination_node", "protocol")


def name(cell):
    return "{} -> {} {}".format(*cell)


def listed(failures):
    """What `Mesh.failures` found, for people."""
    return ", ".join(f"{name(cell)} ({', '.join(reasons)})" for cell, reasons in sorted(failures.items()))


class Mesh:
    def __init__(self, prometheus):
        self.prometheus = prometheus

    def by_cell(self, expression):
        """Values by (source, destination, protocol)."""
        return {tuple(labels[one] for one in CELL): value for labels, value in self.prometheus.query(expression)}

    def by_node(self, expression):
        """Values by the agent that tells them."""
        return {labels["instance"]: value for labels, value in self.prometheus.query(expression)}

    def period(self):
        """Seconds from one sweep to the next."""
        periods = self.by_node("iperf_mesh_sweep_duration_seconds + on (instance) iperf_mesh_pause_seconds")
        if not periods:
            raise Failure("no agent has completed a sweep yet")
        return max(periods.values())

    def lacking(self, nodes, since=0):
        """What is in the way of a matrix of exactly `nodes`, each cell a success that is newer than `since`."""
        success = self.by_cell("iperf_test_success")
        ended = self.by_cell("iperf_test_timestamp_seconds")
        wanted = {(*pair, protocol) for pair in permutations(nodes, 2) for protocol in PROTOCOLS}
        for cell in sorted(success.keys() | wanted):
            if cell not in wanted:
                yield f"{name(cell)} is there"
            elif cell not in success:
                yield f"{name(cell)} is not there"
            elif not success[cell]:
                yield f"{name(cell)} fails"
            elif ended.get(cell, 0) < since:
                yield f"{name(cell)} is old"

    def until_full(self, nodes, within, since=0):
        """Waits for a matrix of exactly `nodes`, all of it newer than `since`."""
        until_nothing(f"a full matrix of {', '.join(nodes)}", lambda: self.lacking(nodes, since), within)

    def failures(self, watch):
        """The cells that failed at some time since `watch` began, with all the reasons that they had."""
        found = self.prometheus.query(f"last_over_time(iperf_mesh_cell_failure[{watch.seconds:.0f}s])")
        failures = {}
        for labels, _ in found:
            failures.setdefault(tuple(labels[one] for one in CELL), []).append(labels["reason"])
        return failures

    def alerts(self, watch):
        """The names of the alerts that fired at some time since `watch` began."""
        found = self.prometheus.query(f'last_over_time(ALERTS{{alertstate="firing"}}[{watch.seconds:.0f}s])')
        return sorted({labels["alertname"] for labels, _ in found})

    def is_swept(self, nodes, sweeps):
        """Whether each of `nodes` is beyond its sweep of `sweeps` by two, so that it has done at least one in between,
        from the beginning to the end."""
        now = self.by_node("iperf_mesh_sweep")
        return all(now.get(node, 0) >= sweeps[node] + 2 for node in nodes)
