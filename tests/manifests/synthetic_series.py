"""The series of the agents of a small mesh, minute by minute, in the format of promtool's unit
tests.

`value` is always a number or a function of the minute; it returns None while the series is absent.
"""

FOREVER = 10**6
TARGET = {"namespace": "net", "job": "iperf3-mesh"}


def series(name, end, value, **labels):
    """Returns the series `name` until minute `end`."""
    labels = ",".join(f'{key}="{text}"' for key, text in (TARGET | labels).items())
    return {"series": f"{name}{{{labels}}}", "values": " ".join(samples(end, function(value)))}


def samples(end, value):
    before = None
    for minute in range(end + 1):
        sample = value(minute)
        if sample is not None:
            yield f"{sample:g}"
        # Prometheus marks the end of a series once.
        else:
            yield "_" if before is None else "stale"
        before = sample


def function(value):
    return value if callable(value) else lambda _: value


def is_in(minute, spans):
    return any(first <= minute < last for first, last in spans)


def agent(node, end, members, sweep=60, pause=240, down=(), known=0, forgotten=FOREVER):
    """Returns an agent's own series.

    In the spans `down` they are absent, and after each span the agent is a new process. The agent
    is a target of Prometheus from minute `known` until minute `forgotten`.
    """

    def started(minute):
        return 60 * max([known, *(last for _, last in down if last <= minute)])

    def while_target(value):
        return lambda minute: function(value)(minute) if known <= minute < forgotten else None

    def while_up(value):
        return while_target(lambda minute: None if is_in(minute, down) else function(value)(minute))

    gauges = {
        "iperf_mesh_sweep_duration_seconds": sweep,
        "iperf_mesh_pause_seconds": pause,
        "iperf_mesh_build_info": 1,
        "process_start_time_seconds": started,
    }
    return [
        series("up", end, while_target(lambda minute: int(not is_in(minute, down))), instance=node),
        series("iperf_mesh_members", end, while_up(members), instance=node, state="live"),
        *(series(name, end, while_up(value), instance=node) for name, value in gauges.items()),
    ]


def agents(nodes, end, members=None, **options):
    return [one for node in nodes for one in agent(node, end, members or len(nodes), **options)]


def cell(name, end, bad=(), gone=(), stuck=None, every=1, protocol="tcp"):
    """Returns the series of a cell; `ab` is the one from a to b.

    It has a result when it appears, and one `every` so many minutes after that. Results in the
    spans `bad` are failures. In the spans `gone` the cell is absent. From minute `stuck` on it has
    no new results.
    """

    def appeared(minute):
        return max([0, *(last for _, last in gone if last <= minute)])

    def result(minute):
        """Returns the minute of the last result."""
        first = appeared(minute)
        last = first + (minute - first) // every * every
        return last if stuck is None else min(last, stuck)

    def last_success(minute):
        """Returns the time of the last good result since the cell appeared."""
        results = (result(one) for one in range(minute, appeared(minute) - 1, -1))
        return next((60 * one for one in results if not is_in(one, bad)), None)

    metrics = {
        "iperf_test_success": lambda minute: int(not is_in(result(minute), bad)),
        "iperf_test_timestamp_seconds": lambda minute: 60 * result(minute),
        "iperf_test_success_timestamp_seconds": last_success,
    }

    def while_present(value):
        return lambda minute: None if is_in(minute, gone) else value(minute)

    return [
        cell_series(metric, name, end, while_present(value), protocol)
        for metric, value in metrics.items()
    ]


def cell_series(metric, name, end, value, protocol="tcp", **labels):
    source, destination = name
    nodes = {"instance": source, "source_node": source, "destination_node": destination}
    return series(metric, end, value, **nodes, protocol=protocol, **labels)


def pairs(nodes):
    return [
        source + destination for source in nodes for destination in nodes if source != destination
    ]


def touching(nodes, some):
    """Returns the cells of `nodes` from or to one of `some`."""
    return [name for name in pairs(nodes) if set(name) & set(some)]


def cells(nodes, end, some=(), **options):
    """Returns all cells of `nodes`, `some` of them with these options."""
    return [
        one for name in pairs(nodes) for one in cell(name, end, **(options if name in some else {}))
    ]
