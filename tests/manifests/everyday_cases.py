"""Test cases for everyday events in clusters, which must raise no alert, and for the death of a
node, which must raise one. A period is 5 minutes.
"""

from expected_alerts import agent as impaired
from expected_alerts import fires, node, pair, silence
from synthetic_series import (
    FOREVER,
    agent,
    agents,
    cell,
    cells,
    pairs,
    series,
    touching,
)

# Minutes from the goodbye of an agent until its successor answers, and until its first tests.
RESTART = 2
AWAY = 5


def cases():
    yield (
        "a rolling update of all nodes, one after the other",
        rolling_update("abcd", 120),
        silence(*range(10, 120, 3)),
    )
    yield (
        "only the first result after a restart is bad: no alert",
        agents("abc", 60) + cells("abc", 60, ["ab"], gone=[(20, 30)], bad=[(30, 31)], every=5),
        silence(25, 30, 31, 33, 60),
    )
    yield (
        "all agents restart at once",
        agents("abc", 90, down=[(20, 20 + RESTART)])
        + cells("abc", 90, pairs("abc"), gone=[(20, 20 + AWAY)]),
        silence(*range(15, 60, 5)),
    )
    yield (
        "all agents are without power for half an hour",
        agents("abc", 120, down=[(20, 50)]) + cells("abc", 120, pairs("abc"), gone=[(20, 53)]),
        [fires(40, ("IperfMeshAbsent",)), *silence(15, 52, 60, 75, 90, 120)],
    )
    yield (
        "Prometheus is down for eight minutes: the alerts continue",
        hidden(
            agents("abc", 90, members=4)
            + agent("d", 90, members=4, down=[(0, FOREVER)])
            + cells("abc", 90, ["ab"], bad=[(10, FOREVER)]),
            60,
            73,
        ),
        [
            fires(59, pair("failing", "a", "b"), impaired("unscraped")),
            fires(80, pair("failing", "a", "b"), impaired("unscraped")),
        ],
    )
    yield (
        "Prometheus is down for eight minutes in a healthy mesh",
        hidden(agents("abc", 90) + cells("abc", 90), 40, 53),
        silence(53, 55, 60, 90),
    )
    yield (
        "a node is drained and rebooted within ten minutes",
        agents("abc", 90, members=in_all(4, 20, 30))
        + agent("d", 90, members=4, down=[(20, 30)])
        + cells("abcd", 90, touching("abcd", "d"), gone=[(20, 33)]),
        silence(*range(15, 90, 5)),
    )
    cordoned = [series("kube_node_spec_unschedulable", 180, 1, instance="state-metrics", node="d")]
    yield (
        "a drained node is off for hours, known to kube-state-metrics",
        leaving_node(180, forgotten=FOREVER) + cordoned,
        silence(*range(15, 180, 15)),
    )
    yield (
        "a node is drained and deleted",
        leaving_node(120, forgotten=22),
        silence(*range(15, 120, 5)),
    )
    dead = node("failing", "d")
    yield (
        "a node dies and is forgotten: a node alert, then an agent alert",
        dying_node(120, cells_go=70),
        [
            fires(29),
            *(fires(minute, dead) for minute in (32, 55, 68)),
            fires(80, impaired("unscraped")),
        ],
    )
    yield (
        "a node dies, and is deleted in minute 50: one alert",
        dying_node(120, cells_go=51, forgotten=50),
        [fires(29), fires(32, dead), fires(48, dead), *silence(55, 80, 120)],
    )
    yield (
        "a node of two dies, and is deleted in minute 50: one alert",
        agent("a", 120, members=in_all(2, 51))
        + agent("b", 120, members=2, down=[(20, FOREVER)], forgotten=50)
        + cell("ba", 120, gone=[(20, FOREVER)])
        + cell("ab", 120, bad=[(20, FOREVER)], gone=[(51, FOREVER)]),
        [
            fires(29),
            fires(32, node("failing", "b")),
            fires(48, node("failing", "b")),
            *silence(55, 80, 120),
        ],
    )
    yield "a healthy mesh of two", agents("ab", 90) + cells("ab", 90), silence(20, 60, 90)
    yield "a healthy mesh of one", agents("a", 90), silence(20, 60, 90)
    yield (
        "a second node joins a mesh of one after an hour",
        agent("a", 120, members=in_all(2, 0, 60))
        + agent("b", 120, members=2, known=60)
        + cells("ab", 120, pairs("ab"), gone=[(0, 64)]),
        silence(*range(55, 120, 5)),
    )


def in_all(members, left, back=FOREVER):
    """Returns the number of members over time: one less while one of them is away."""
    return lambda minute: members - (left <= minute < back)


def rolling_update(nodes, end):
    """Restarts one agent every six minutes; a pair meets again when both agents are back."""
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
    gone = [(20, FOREVER)]
    return (
        agents("abc", end, members=in_all(4, 20))
        + agent("d", end, members=4, down=gone, forgotten=forgotten)
        + cells("abcd", end, touching("abcd", "d"), gone=gone)
    )


def dying_node(end, cells_go, forgotten=FOREVER):
    """Lets d die without a goodbye in minute 20; the other nodes' cells to it disappear later."""
    own = agents("abc", end, members=in_all(4, cells_go)) + cells("abc", end)
    own += agent("d", end, members=4, down=[(20, FOREVER)], forgotten=forgotten)
    for name in "abc":
        own += cell(f"d{name}", end, gone=[(20, FOREVER)])
        own += cell(f"{name}d", end, bad=[(20, FOREVER)], gone=[(cells_go, FOREVER)])
    return own


def hidden(given, first, last):
    """Removes all samples of a time in which Prometheus was down, without marking the end of the
    series.

    Promtool continues to evaluate the rules and finds the last samples for five more minutes, so an
    outage takes effect after that.
    """
    for one in given:
        values = one["values"].split()
        values[first:last] = ["_"] * (last - first)
        one["values"] = " ".join(values)
    return given
