"""Test cases for alerts on the matrix. A period is 5 minutes, unless a case says otherwise."""

from expected_alerts import fires, mesh, node, pair, silence
from synthetic_series import FOREVER, agents, cell, cell_series, cells, pairs, touching


def cases():
    yield "a healthy mesh", agents("abc", 120) + cells("abc", 120), silence(20, 120)
    yield (
        "one direction of a pair fails permanently",
        agents("abc", 60) + cells("abc", 60, ["ab"], bad=[(20, FOREVER)]),
        [fires(28), fires(32, pair("failing", "a", "b")), fires(60, pair("failing", "a", "b"))],
    )
    yield (
        "one direction of a pair fails for less than two periods",
        agents("abc", 60) + cells("abc", 60, ["ab"], bad=[(20, 27)]),
        silence(26, 31, 60),
    )
    yield (
        "one direction fails, and two periods are 100 minutes",
        agents("abc", 140, sweep=2700, pause=300) + cells("abc", 140, ["ab"], bad=[(20, FOREVER)]),
        [fires(115), fires(122, pair("failing", "a", "b"))],
    )
    yield (
        "one bad result, sweeps shorter than the rules' interval",
        agents("abc", 40, sweep=15, pause=5) + cells("abc", 40, ["ab"], bad=[(20, 21)]),
        silence(20, 21, 40),
    )
    yield (
        "a cell has been bad since it was first seen",
        agents("abc", 30) + cells("abc", 30, ["ab"], bad=[(0, FOREVER)]),
        [fires(9), fires(12, pair("failing", "a", "b"))],
    )
    yield (
        "a node dies and comes back cell by cell: no alert on pairs",
        in_turn(260),
        [
            *silence(*range(50, 100, 2)),
            *(fires(minute, node("failing", "h")) for minute in (115, 150, 199)),
            *silence(*range(226, 260, 2)),
        ],
    )
    yield (
        "a node can receive, but not send",
        agents("abcd", 60) + cells("abcd", 60, ["ab", "ac", "ad"], bad=[(20, FOREVER)]),
        [fires(40, node("failing", "a"))],
    )
    yield (
        "two of eight nodes are cut off: one alert for each",
        agents("abcdefgh", 60)
        + cells("abcdefgh", 60, touching("abcdefgh", "gh"), bad=[(20, FOREVER)]),
        [fires(40, node("failing", "g"), node("failing", "h"))],
    )
    yield (
        "all cells fail, as behind a closed firewall: one alert",
        agents("abc", 60) + cells("abc", 60, pairs("abc"), bad=[(20, FOREVER)]),
        [fires(40, mesh("failing"))],
    )
    across = ["ae", "ea", "bf", "fb", "cg", "gc", "dh", "hd"]
    yield (
        "four pairs fail, as behind a bad switch: one alert",
        agents("abcdefgh", 60) + cells("abcdefgh", 60, across, bad=[(20, FOREVER)]),
        [fires(40, mesh("failing"))],
    )
    yield (
        "a pair is not tested, while both nodes test with others",
        agents("abc", 60) + cells("abc", 60, ["ab"], stuck=20),
        [fires(34), fires(37, pair("failing", "a", "b"))],
    )
    yield (
        "one direction of two nodes fails: alert on the destination",
        agents("ab", 60) + cells("ab", 60, ["ab"], bad=[(20, FOREVER)]),
        [fires(28), fires(40, node("failing", "b"))],
    )
    yield (
        "both directions fail in a mesh of two: one alert",
        agents("ab", 60) + cells("ab", 60, pairs("ab"), bad=[(20, FOREVER)]),
        [fires(28), fires(40, mesh("failing"))],
    )
    yield (
        "two meshes have the same node names, and one is bad",
        agents("abc", 60)
        + cells("abc", 60, ["ab"], bad=[(20, FOREVER)])
        + in_other_namespace(agents("abc", 60, sweep=2700) + cells("abc", 60)),
        [fires(32, pair("failing", "a", "b")), fires(60, pair("failing", "a", "b"))],
    )
    yield (
        "a path loses datagrams, and is therefore slow: one alert",
        lossy_path(60),
        [
            fires(28),
            fires(40, pair("lossy", "a", "b")),
        ],
    )
    slow_c = node("slow", "c")
    yield (
        "a node gets slow; zeros of failing cells do not count",
        slow_node(200),
        [
            fires(119),
            fires(135, slow_c),
            fires(178, slow_c),
            fires(195, slow_c, pair("failing", "a", "b")),
        ],
    )
    yield (
        "a pair gets slow in one direction",
        slow_pair(200),
        [
            fires(119),
            fires(135, pair("slow", "a", "b")),
            fires(200, pair("slow", "a", "b")),
        ],
    )


def in_turn(end):
    """Gives every cell one result in a period of 20 minutes, in its own minute; those to h are bad
    for a while.
    """
    own = agents("abcdefgh", end, sweep=960)
    for turn, name in enumerate(pairs("abcdefgh")):
        bad = [(50, 200)] if name[1] == "h" else []
        own += cell(name, end, bad=bad, gone=[(0, turn * 7 % 15)], every=20)
    return own


def in_other_namespace(given):
    """Returns the same series in another namespace."""
    return [
        one | {"series": one["series"].replace('namespace="net"', 'namespace="other"')}
        for one in given
    ]


def from_then(minute, before, after):
    return lambda now: before if now < minute else after


def bandwidth(name, end, value):
    return cell_series("iperf_network_bandwidth_mbps", name, end, value)


def lossy_path(end):
    own = agents("abc", end) + cells("abc", end)
    for name in pairs("abc"):
        is_lossy = name == "ab"
        loss = from_then(20, 0.001, 0.03 if is_lossy else 0.001)
        own += cell(name, end, protocol="udp")
        own.append(cell_series("iperf_network_loss_ratio", name, end, loss, "udp"))
        own.append(bandwidth(name, end, from_then(20, 900, 300 if is_lossy else 900)))
    return own


def slow_node(end):
    """Lets c fall to a third in minute 120. The path between a and b is always slow, and ab fails
    from minute 170 on.
    """
    own = agents("abc", end) + cells("abc", end, ["ab"], bad=[(170, FOREVER)])
    for name in pairs("abc"):
        usual = from_then(120, 900, 300) if "c" in name else 50
        own.append(bandwidth(name, end, from_then(170, 50, 0) if name == "ab" else usual))
    return own


def slow_pair(end):
    own = agents("abc", end) + cells("abc", end)
    own += [
        bandwidth(name, end, from_then(120, 900, 300 if name == "ab" else 900))
        for name in pairs("abc")
    ]
    return own
