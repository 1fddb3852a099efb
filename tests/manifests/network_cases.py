"""Alerts on the matrix. A period is 5 minutes, so "two periods" are 10, where nothing else is said."""

from firing import fires, mesh, node, pair, silence
from telling import FOR_EVER, agents, cell, cell_series, cells, pairs, touching


def cases():
    yield "all is well", agents("abc", 120) + cells("abc", 120), silence(20, 120)
    yield (
        "one direction of a pair fails for good",
        agents("abc", 60) + cells("abc", 60, ["ab"], bad=[(20, FOR_EVER)]),
        [fires(28), fires(32, pair("failing", "a", "b")), fires(60, pair("failing", "a", "b"))],
    )
    yield (
        "it fails for less than two periods",
        agents("abc", 60) + cells("abc", 60, ["ab"], bad=[(20, 27)]),
        silence(26, 31, 60),
    )
    yield (
        "the windows follow the sweep: two periods are 100 minutes",
        agents("abc", 140, sweep=2700, pause=300) + cells("abc", 140, ["ab"], bad=[(20, FOR_EVER)]),
        [fires(115), fires(122, pair("failing", "a", "b"))],
    )
    yield (
        "sweeps that are shorter than the rules' interval: one bad result is no reason",
        agents("abc", 40, sweep=15, pause=5) + cells("abc", 40, ["ab"], bad=[(20, 21)]),
        silence(20, 21, 40),
    )
    yield (
        "a cell that never was well counts from when it was first seen",
        agents("abc", 30) + cells("abc", 30, ["ab"], bad=[(0, FOR_EVER)]),
        [fires(9), fires(12, pair("failing", "a", "b"))],
    )
    yield "a node dies and comes back, and its cells do so in turn: they raise no alerts of their own", in_turn(260), [
        *silence(*range(50, 100, 2)),
        *(fires(minute, node("failing", "h")) for minute in (115, 150, 199)),
        *silence(*range(226, 260, 2)),
    ]
    yield (
        "a node cannot send, but can be reached",
        agents("abcd", 60) + cells("abcd", 60, ["ab", "ac", "ad"], bad=[(20, FOR_EVER)]),
        [fires(40, node("failing", "a"))],
    )
    yield (
        "two of eight nodes are cut off: one alert for each",
        agents("abcdefgh", 60) + cells("abcdefgh", 60, touching("abcdefgh", "gh"), bad=[(20, FOR_EVER)]),
        [fires(40, node("failing", "g"), node("failing", "h"))],
    )
    yield (
        "everything fails, as behind a closed firewall: one alert",
        agents("abc", 60) + cells("abc", 60, pairs("abc"), bad=[(20, FOR_EVER)]),
        [fires(40, mesh("failing"))],
    )
    across = ["ae", "ea", "bf", "fb", "cg", "gc", "dh", "hd"]
    yield (
        "four pairs fail, as behind one bad switch: one alert",
        agents("abcdefgh", 60) + cells("abcdefgh", 60, across, bad=[(20, FOR_EVER)]),
        [fires(40, mesh("failing"))],
    )
    yield (
        "a pair is not tested any more, while both nodes test with others",
        agents("abc", 60) + cells("abc", 60, ["ab"], stuck=20),
        [fires(34), fires(37, pair("failing", "a", "b"))],
    )
    yield (
        "in a mesh of two one direction fails: the node that is not reached",
        agents("ab", 60) + cells("ab", 60, ["ab"], bad=[(20, FOR_EVER)]),
        [fires(28), fires(40, node("failing", "b"))],
    )
    yield (
        "in a mesh of two both fail: one alert",
        agents("ab", 60) + cells("ab", 60, pairs("ab"), bad=[(20, FOR_EVER)]),
        [fires(28), fires(40, mesh("failing"))],
    )
    yield (
        "two meshes with nodes of the same names: what is bad in one is not in the other",
        agents("abc", 60)
        + cells("abc", 60, ["ab"], bad=[(20, FOR_EVER)])
        + elsewhere(agents("abc", 60, sweep=2700) + cells("abc", 60)),
        [fires(32, pair("failing", "a", "b")), fires(60, pair("failing", "a", "b"))],
    )
    yield "a path loses datagrams, and is slow for that reason: one alert", lossy_path(60), [
        fires(28),
        fires(40, pair("lossy", "a", "b")),
    ]
    slow_c = node("slow", "c")
    yield "a node gets slow; a zero for a failed test is no slowness", slow_node(200), [
        fires(119),
        fires(135, slow_c),
        fires(178, slow_c),
        fires(195, slow_c, pair("failing", "a", "b")),
    ]
    yield "a pair gets slow, in one direction", slow_pair(200), [
        fires(119),
        fires(135, pair("slow", "a", "b")),
        fires(200, pair("slow", "a", "b")),
    ]


def in_turn(end):
    """Every cell has one result in a period of 20 minutes, in a minute of its own; those to h are bad for a while."""
    own = agents("abcdefgh", end, sweep=960)
    for turn, name in enumerate(pairs("abcdefgh")):
        bad = [(50, 200)] if name[1] == "h" else []
        own += cell(name, end, bad=bad, gone=[(0, turn * 7 % 15)], every=20)
    return own


def elsewhere(given):
    """The same in another namespace."""
    return [one | {"series": one["series"].replace('namespace="net"', 'namespace="other"')} for one in given]


def from_then(minute, before, after):
    return lambda now: before if now < minute else after


def bandwidth(name, end, fate):
    return cell_series("iperf_network_bandwidth_mbps", name, end, fate)


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
    """c falls to a third in minute 120; between a and b it is always slow, and ab fails from minute 170 on."""
    own = agents("abc", end) + cells("abc", end, ["ab"], bad=[(170, FOR_EVER)])
    for name in pairs("abc"):
        usual = from_then(120, 900, 300) if "c" in name else 50
        own.append(bandwidth(name, end, from_then(170, 50, 0) if name == "ab" else usual))
    return own


def slow_pair(end):
    own = agents("abc", end) + cells("abc", end)
    own += [bandwidth(name, end, from_then(120, 900, 300 if name == "ab" else 900)) for name in pairs("abc")]
    return own
