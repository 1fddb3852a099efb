"""What clusters do every day must raise no alert, and the death of a node one. A period is 5 minutes."""

from firing import agent as impaired
from firing import fires, node, pair, silence
from telling import FOR_EVER, agent, agents, cell, cells, pairs, series, touching

# From the goodbye of an agent to the answer of its successor, to its first tests.
RESTART = 2
AWAY = 5


def cases():
    yield "a rolling update of all nodes, one after the other", rolling_update("abcd", 120), silence(*range(10, 120, 3))
    yield (
        "a new life whose first result is bad: that is one in a row, whatever was before",
        agents("abc", 60) + cells("abc", 60, ["ab"], gone=[(20, 30)], bad=[(30, 31)], every=5),
        silence(25, 30, 31, 33, 60),
    )
    yield (
        "all agents are restarted at once",
        agents("abc", 90, down=[(20, 20 + RESTART)])
        + cells("abc", 90, pairs("abc"), gone=[(20, 20 + AWAY)]),
        silence(*range(15, 60, 5)),
    )
    yield (
        "the power is gone for half an hour, and Prometheus sees all agents come back",
        agents("abc", 120, down=[(20, 50)]) + cells("abc", 120, pairs("abc"), gone=[(20, 53)]),
        [fires(40, ("IperfMeshAbsent",)), *silence(15, 52, 60, 75, 90, 120)],
    )
    yield (
        "Prometheus is away for eight minutes: what was failing still is, and who was missing",
        hidden(
            agents("abc", 90, members=4)
            + agent("d", 90, members=4, down=[(0, FOR_EVER)])
            + cells("abc", 90, ["ab"], bad=[(10, FOR_EVER)]),
            60,
            73,
        ),
        [
            fires(59, pair("failing", "a", "b"), impaired("unscraped")),
            fires(80, pair("failing", "a", "b"), impaired("unscraped")),
        ],
    )
    yield (
        "Prometheus is away for eight minutes: what was well still is",
        hidden(agents("abc", 90) + cells("abc", 90), 40, 53),
        silence(53, 55, 60, 90),
    )
    yield (
        "a node is drained and rebooted: its agent says goodbye, and is back after ten minutes",
        agents("abc", 90, members=in_all(4, 20, 30))
        + agent("d", 90, members=4, down=[(20, 30)])
        + cells("abcd", 90, touching("abcd", "d"), gone=[(20, 33)]),
        silence(*range(15, 90, 5)),
    )
    cordoned = [series("kube_node_spec_unschedulable", 180, 1, instance="state-metrics", node="d")]
    yield (
        "a node is drained and switched off for hours: a goodbye, and a cordon that kube-state-metrics tells of",
        leaving_node(180, forgotten=FOR_EVER) + cordoned,
        silence(*range(15, 180, 15)),
    )
    yield (
        "a node is drained and deleted: a goodbye, and Prometheus looks for it no more",
        leaving_node(120, forgotten=22),
        silence(*range(15, 120, 5)),
    )
    dead = node("failing", "d")
    yield (
        "a node dies: one alert, and after it was forgotten in minute 70 one that its agent is missing",
        dying_node(120, cells_go=70),
        [fires(29), *(fires(minute, dead) for minute in (32, 55, 68)), fires(80, impaired("unscraped"))],
    )
    yield (
        "a node dies, and is deleted in minute 50",
        dying_node(120, cells_go=51, forgotten=50),
        [fires(29), fires(32, dead), fires(48, dead), *silence(55, 80, 120)],
    )
    yield (
        "a node dies in a mesh of two, and is deleted in minute 50",
        agent("a", 120, members=in_all(2, 51))
        + agent("b", 120, members=2, down=[(20, FOR_EVER)], forgotten=50)
        + cell("ba", 120, gone=[(20, FOR_EVER)])
        + cell("ab", 120, bad=[(20, FOR_EVER)], gone=[(51, FOR_EVER)]),
        [fires(29), fires(32, node("failing", "b")), fires(48, node("failing", "b")), *silence(55, 80, 120)],
    )
    yield "a mesh of two", agents("ab", 90) + cells("ab", 90), silence(20, 60, 90)
    yield "a mesh of one", agents("a", 90), silence(20, 60, 90)
    yield (
        "a second node joins the first after an hour",
        agent("a", 120, members=in_all(2, 0, 60))
        + agent("b", 120, members=2, known=60)
        + cells("ab", 120, pairs("ab"), gone=[(0, 64)]),
        silence(*range(55, 120, 5)),
    )


def in_all(members, left, back=FOR_EVER):
    """So many, but one less for those who know that one has left, until it is back."""
    return lambda minute: members - (left <= minute < back)


def rolling_update(nodes, end):
    """One agent after the other, every six minutes; a pair is met again when both are there."""
    turns = {name: 20 + 6 * turn for turn, name in enumerate(nodes)}
    own = [
        one
        for name, turn in turns.items()
        for one in agent(name, end, len(nodes), down=[(turn, turn + RESTART)])
    ]
    for name in pairs(nodes):
        gone = [(turns[one], turns[one] + AWAY) for one in sorted(name, key=turns.get)]
        own += cell(name, end, gone=gone, every=5)
    return own


def leaving_node(end, forgotten):
    gone = [(20, FOR_EVER)]
    return (
        agents("abc", end, members=in_all(4, 20))
        + agent("d", end, members=4, down=gone, forgotten=forgotten)
        + cells("abcd", end, touching("abcd", "d"), gone=gone)
    )


def dying_node(end, cells_go, forgotten=FOR_EVER):
    """d dies without a word in minute 20, and the others' cells to it go later."""
    own = agents("abc", end, members=in_all(4, cells_go)) + cells("abc", end)
    own += agent("d", end, members=4, down=[(20, FOR_EVER)], forgotten=forgotten)
    for name in "abc":
        own += cell(f"d{name}", end, gone=[(20, FOR_EVER)])
        own += cell(f"{name}d", end, bad=[(20, FOR_EVER)], gone=[(cells_go, FOR_EVER)])
    return own


def hidden(given, first, last):
    """What Prometheus did not see: no samples, and no marks of their end. Promtool goes on to evaluate, and finds what
    was there before for five minutes more, so that an outage begins to count after these."""
    for one in given:
        values = one["values"].split()
        values[first:last] = ["_"] * (last - first)
        one["values"] = " ".join(values)
    return given
