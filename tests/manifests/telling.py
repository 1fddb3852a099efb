"""What the agents of a small mesh tell Prometheus, minute by minute, in the notation of promtool's unit tests.

A fate is a function of the minute: what a series is worth then, or None while it is not there.
"""

FOR_EVER = 10**6
TARGET = {"namespace": "net", "job": "iperf3-mesh"}


def series(name, end, fate, **labels):
    """The series `name` until minute `end`: its fate, or its one value."""
    labels = ",".join(f'{key}="{value}"' for key, value in (TARGET | labels).items())
    return {"series": f"{name}{{{labels}}}", "values": " ".join(samples(end, constant(fate)))}


def samples(end, fate):
    before = None
    for minute in range(end + 1):
        value = fate(minute)
        if value is not None:
            yield f"{value:g}"
        # Prometheus marks where a series ends; after that there is nothing.
        else:
            yield "_" if before is None else "stale"
        before = value


def constant(fate):
    return fate if callable(fate) else lambda _: fate


def is_in(minute, spans):
    return any(first <= minute < last for first, last in spans)


def agent(node, end, members, sweep=60, pause=240, down=(), known=0, forgotten=FOR_EVER):
    """What an agent tells of itself. In the spans `down` it says nothing; each time it comes back it is a new process.
    Prometheus looks for it from the minute on in which its pod is `known`, until it is `forgotten`."""

    def started(minute):
        return 60 * max([known, *(last for _, last in down if last <= minute)])

    def sought(fate):
        return lambda minute: constant(fate)(minute) if known <= minute < forgotten else None

    def told(fate):
        return sought(lambda minute: None if is_in(minute, down) else constant(fate)(minute))

    gauges = {
        "iperf_mesh_sweep_duration_seconds": sweep,
        "iperf_mesh_pause_seconds": pause,
        "iperf_mesh_build_info": 1,
        "process_start_time_seconds": started,
    }
    return [
        series("up", end, sought(lambda minute: int(not is_in(minute, down))), instance=node),
        series("iperf_mesh_members", end, told(members), instance=node, state="live"),
        *(series(name, end, told(fate), instance=node) for name, fate in gauges.items()),
    ]


def agents(nodes, end, members=None, **how):
    return [one for node in nodes for one in agent(node, end, members or len(nodes), **how)]


def cell(name, end, bad=(), gone=(), stuck=None, every=1, protocol="tcp"):
    """The cell `ab` from a to b, with a result `every` so many minutes, also at once when it appears. Its results are
    `bad` in some spans, it is not there in those in which it is `gone`, and has no more results from `stuck` on."""

    def appeared(minute):
        return max([0, *(last for _, last in gone if last <= minute)])

    def result(minute):
        """When the last result came."""
        first = appeared(minute)
        last = first + (minute - first) // every * every
        return last if stuck is None else min(last, stuck)

    def fine(minute):
        """When the last good result came; nothing is known of what was before the cell appeared."""
        results = (result(one) for one in range(minute, appeared(minute) - 1, -1))
        return next((60 * one for one in results if not is_in(one, bad)), None)

    fates = {
        "iperf_test_success": lambda minute: int(not is_in(result(minute), bad)),
        "iperf_test_timestamp_seconds": lambda minute: 60 * result(minute),
        "iperf_test_success_timestamp_seconds": fine,
    }

    def here(fate):
        return lambda minute: None if is_in(minute, gone) else fate(minute)

    return [cell_series(metric, name, end, here(fate), protocol) for metric, fate in fates.items()]


def cell_series(metric, name, end, fate, protocol="tcp", **labels):
    source, destination = name
    where = {"instance": source, "source_node": source, "destination_node": destination}
    return series(metric, end, fate, **where, protocol=protocol, **labels)


def pairs(nodes):
    return [source + destination for source in nodes for destination in nodes if source != destination]


def touching(nodes, some):
    """The cells of `nodes` from or to one of `some`."""
    return [name for name in pairs(nodes) if set(name) & set(some)]


def cells(nodes, end, some=(), **how):
    """All cells of `nodes`; `some` of them with the fate `how`."""
    return [one for name in pairs(nodes) for one in cell(name, end, **(how if name in some else {}))]
