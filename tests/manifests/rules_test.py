#!/usr/bin/env python3
"""Tests the alerts with promtool: writes its unit tests for small meshes, and runs them against the rules file $1.

Every check lists all that fires, so that a second alert for one cause fails it. The tests are written here rather than
in promtool's YAML, which has no loops: a mesh of four nodes is 24 series.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = {"namespace": "net", "job": "iperf3-mesh"}
LABELS = ["alertname", "problem", "node", "source_node", "destination_node", "instance"]


def series(name, values, **labels):
    labels = ",".join(f'{key}="{value}"' for key, value in (TARGET | labels).items())
    return {"series": f"{name}{{{labels}}}", "values": values}


def agent(node, end, members, sweep=60, pause=240, dies=None):
    """What an agent tells of itself until minute `end`, one value a minute. When it `dies`, its series go."""
    gauges = {
        "iperf_mesh_sweep_duration_seconds": sweep,
        "iperf_mesh_pause_seconds": pause,
        "iperf_mesh_build_info": 1,
    }
    last = f"{dies} stale" if dies else end
    own = [series(name, f"{value}+0x{last}", instance=node) for name, value in gauges.items()]
    own.append(series("iperf_mesh_members", f"{members}+0x{last}", instance=node, state="live"))
    up = f"1+0x{dies} 0+0x{end - dies}" if dies else f"1+0x{end}"
    return [*own, series("up", up, instance=node)]


def agents(nodes, end, members=None, **how):
    return [one for node in nodes for one in agent(node, end, members or len(nodes), **how)]


def cell(name, end, fails=None, mends=None, gone=None, stuck=None, protocol="tcp"):
    """The cell `ab` from a to b, with a result each minute: when it fails, mends, goes, and has no more results."""
    end, stale = (gone, " stale") if gone else (end, "")
    success, at, good = f"1+0x{end}", f"0+60x{end}", f"0+60x{end}"
    if fails is not None:
        until = mends or end + 1
        success = " ".join(["1"] * fails + ["0"] * (until - fails) + ["1"] * (end + 1 - until))
        last = str(60 * (fails - 1)) if fails else "_"
        good = " ".join(
            str(60 * minute) if minute < fails or minute >= until else last for minute in range(end + 1)
        )
    if stuck:
        at = f"0+60x{stuck} {60 * stuck}+0x{end - stuck - 1}"
    values = {
        "iperf_test_success": success,
        "iperf_test_timestamp_seconds": at,
        "iperf_test_success_timestamp_seconds": good,
    }
    return [cell_series(metric, name, value + stale, protocol) for metric, value in values.items()]


def cell_series(metric, name, values, protocol="tcp", **labels):
    source, destination = name
    where = {"instance": source, "source_node": source, "destination_node": destination}
    return series(metric, values, **where, protocol=protocol, **labels)


def pairs(nodes):
    return [source + destination for source in nodes for destination in nodes if source != destination]


def cells(nodes, end, bad=(), **how):
    """All cells of `nodes`; those in `bad` with the fate `how`."""
    return [one for name in pairs(nodes) for one in cell(name, end, **(how if name in bad else {}))]


def reasons(names, reason, since, end):
    values = f"_x{since} 1+0x{end - since}"
    return [cell_series("iperf_mesh_cell_failure", name, values, reason=reason) for name in names]


def fires(minute, *alerts):
    """At `minute` exactly these alerts fire, each a name with some labels."""
    samples = []
    for name, *rest in alerts:
        labels = {"alertname": name} | dict(zip(rest[::2], rest[1::2], strict=True))
        pretty = ", ".join(f'{key}="{labels[key]}"' for key in LABELS if key in labels)
        samples.append({"labels": f"{{{pretty}}}", "value": 1})
    return {
        "expr": f'sum by ({", ".join(LABELS)}) (ALERTS{{alertstate="firing"}})',
        "eval_time": f"{minute}m",
        "exp_samples": samples,
    }


def pair(problem, source, destination):
    ends = ("source_node", source, "destination_node", destination)
    return ("IperfMeshPairImpaired", "problem", problem, *ends)


def node(problem, name):
    return ("IperfMeshNodeImpaired", "problem", problem, "node", name)


def mesh(problem):
    return ("IperfMeshImpaired", "problem", problem)


def network():
    """Alerts on the matrix. A period is 5 minutes, so "two periods" are 10, where nothing else is said."""
    yield "all is well", agents("abc", 120) + cells("abc", 120), [fires(20), fires(120)]
    yield (
        "one direction of a pair fails for good",
        agents("abc", 60) + cells("abc", 60, ["ab"], fails=20),
        [fires(28), fires(32, pair("failing", "a", "b")), fires(60, pair("failing", "a", "b"))],
    )
    yield (
        "it fails for less than two periods",
        agents("abc", 60) + cells("abc", 60, ["ab"], fails=20, mends=27),
        [fires(26), fires(31), fires(60)],
    )
    yield (
        "the windows follow the sweep: two periods are 100 minutes",
        agents("abc", 140, sweep=2700, pause=300) + cells("abc", 140, ["ab"], fails=20),
        [fires(115), fires(122, pair("failing", "a", "b"))],
    )
    yield (
        "sweeps that are shorter than the rules' interval: one bad result is no reason",
        agents("abc", 40, sweep=15, pause=5) + cells("abc", 40, ["ab"], fails=20, mends=21),
        [fires(20), fires(21), fires(40)],
    )
    yield (
        "a cell that never was well counts from when it was first seen",
        agents("abc", 30) + cells("abc", 30, ["ab"], fails=0),
        [fires(9), fires(12, pair("failing", "a", "b"))],
    )
    yield (
        "a cell was away for more than two periods, and its first result is bad",
        agents("abc", 60) + [one for name in pairs("abc") if name != "ab" for one in cell(name, 60)] + returning(60),
        [fires(minute) for minute in (29, 30, 31, 60)],
    )
    yield "a node dies, and is forgotten in minute 70", dying_node(90), [
        fires(29),
        *(fires(minute, node("failing", "d")) for minute in (32, 55, 68)),
        fires(75),
    ]
    yield "a node dies and comes back, and its cells do so in turn: they raise no alerts of their own", turns(260), [
        *(fires(minute) for minute in range(50, 100, 2)),
        *(fires(minute, node("failing", "h")) for minute in (115, 150, 199)),
        *(fires(minute) for minute in range(226, 260, 2)),
    ]
    yield (
        "a node cannot send, but can be reached",
        agents("abcd", 60) + cells("abcd", 60, ["ab", "ac", "ad"], fails=20),
        [fires(40, node("failing", "a"))],
    )
    yield (
        "two of eight nodes are cut off: one alert for each",
        agents("abcdefgh", 60) + cells("abcdefgh", 60, touching("abcdefgh", "gh"), fails=20),
        [fires(40, node("failing", "g"), node("failing", "h"))],
    )
    yield (
        "everything fails, as behind a closed firewall: one alert",
        agents("abc", 60) + cells("abc", 60, pairs("abc"), fails=20),
        [fires(40, mesh("failing"))],
    )
    across = ["ae", "ea", "bf", "fb", "cg", "gc", "dh", "hd"]
    yield (
        "four pairs fail, as behind one bad switch: one alert",
        agents("abcdefgh", 60) + cells("abcdefgh", 60, across, fails=20),
        [fires(40, mesh("failing"))],
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


def touching(nodes, some):
    return [name for name in pairs(nodes) if set(name) & set(some)]


def returning(end):
    """The cell from a to b is away from minute 20 to 30, then fails once."""
    values = {
        "iperf_test_success": f"1+0x19 stale _x9 0 1+0x{end - 31}",
        "iperf_test_timestamp_seconds": f"0+60x19 stale _x9 1800+60x{end - 30}",
        "iperf_test_success_timestamp_seconds": f"0+60x19 stale _x10 1860+60x{end - 31}",
    }
    return [cell_series(metric, "ab", sequence) for metric, sequence in values.items()]


def dying_node(end):
    living = agents("abc", end, members=4) + agent("d", end, members=4, dies=20) + cells("abc", end)
    row = [one for name in ("da", "db", "dc") for one in cell(name, end, gone=20)]
    column = [one for name in ("ad", "bd", "cd") for one in cell(name, end, fails=20, gone=70)]
    return living + row + column


def turns(end, dies=50, mends=200, period=20):
    """Every cell has one result in a period, in a minute of its own; those to node h fail in between."""
    own = agents("abcdefgh", end, sweep=60 * period - 300, pause=300)
    for turn, name in enumerate(pairs("abcdefgh")):
        results = range(turn * 7 % 15, end + 1, period)
        good = [minute for minute in results if name[1] != "h" or not dies <= minute < mends]
        values = {
            "iperf_test_success": [(minute, int(minute in good)) for minute in results],
            "iperf_test_timestamp_seconds": [(minute, 60 * minute) for minute in results],
            "iperf_test_success_timestamp_seconds": [(minute, 60 * minute) for minute in good],
        }
        own += [cell_series(metric, name, steps(changes, end)) for metric, changes in values.items()]
    return own


def steps(changes, end):
    """One value a minute, of a series that changes to a value at a minute, and is not there before the first."""
    values = ["_"] * changes[0][0]
    for (minute, value), (until, _) in zip(changes, [*changes[1:], (end + 1, None)], strict=True):
        values += [str(value)] * (until - minute)
    return " ".join(values)


def lossy_path(end):
    own = agents("abc", end) + cells("abc", end)
    for name in pairs("abc"):
        bad = name == "ab"
        loss = f"0.001+0x19 {0.03 if bad else 0.001}+0x40"
        bandwidth = f"900+0x19 {300 if bad else 900}+0x40"
        own += cell(name, end, protocol="udp")
        own.append(cell_series("iperf_network_loss_ratio", name, loss, "udp"))
        own.append(cell_series("iperf_network_bandwidth_mbps", name, bandwidth))
    return own


def slow_node(end):
    """c falls to a third in minute 120; between a and b it is always slow, and ab fails from minute 170 on."""
    own = agents("abc", end) + cells("abc", end, ["ab"], fails=170)
    for name in pairs("abc"):
        bandwidth = "900+0x119 300+0x80" if "c" in name else "50+0x200"
        if name == "ab":
            bandwidth = "50+0x169 0+0x30"
        own.append(cell_series("iperf_network_bandwidth_mbps", name, bandwidth))
    return own


def health():
    """Alerts on the agents."""
    conflict = [series("iperf_mesh_members", "1+0x60", instance=name, state="conflict") for name in "ab"]
    yield (
        "two agents go by the name of c: the failures have that cause, and no alert of their own",
        agents("ab", 60)
        + conflict
        + cells("abc", 60, ["ac", "bc"], fails=0)
        + reasons(["ac", "bc"], "name_conflict", 0, 60),
        [fires(9), fires(40, ("IperfMeshNameConflict",))],
    )
    foreign = [series("iperf_mesh_incompatible_peers", "0+0x9 1+0x51", instance=name) for name in "ab"]
    yield (
        "an agent of a foreign version, likewise",
        agents("ab", 60)
        + foreign
        + cells("abc", 60, ["ac", "bc"], fails=10)
        + reasons(["ac", "bc"], "incompatible", 10, 60),
        [fires(35), fires(45, ("IperfMeshIncompatible",))],
    )
    yield (
        "Prometheus cannot scrape c, but its peers test with it",
        agents("ab", 90, members=3)
        + agent("c", 90, members=3, dies=20)
        + cells("abc", 90, ["ca", "cb"], gone=20),
        [fires(45), fires(80, ("IperfMeshNotScraped", "instance", "c"))],
    )
    yield (
        "an agent answers, but has no new results",
        agents("abc", 60) + cells("abc", 60, ["ab", "ac"], stuck=20),
        [fires(33), fires(42, ("IperfMeshStuck", "source_node", "a"))],
    )
    yield (
        "c knows nobody, and nobody knows c",
        agents("ab", 60) + agents("c", 60) + cells("ab", 60),
        [fires(14), fires(20, ("IperfMeshSplit",))],
    )
    room = [series("iperf_mesh_gossip_digest_max_bytes", "57000+0x30", instance=name) for name in "ab"]
    digest = [
        series("iperf_mesh_gossip_digest_bytes", f"{used}+0x30", instance=name)
        for name, used in (("a", 50000), ("b", 20000))
    ]
    yield (
        "the list of members is nearly full",
        agents("ab", 30) + room + digest,
        [fires(14), fires(16, ("IperfMeshFull",))],
    )
    yield (
        "an overlap is told for an hour",
        agents("ab", 120) + [series("iperf_mesh_overlaps_total", "0+0x20 1+0x99", instance="a")],
        [fires(20), fires(25, ("IperfMeshOverlap",)), fires(90)],
    )
    other = [series("up", "0+0x30", instance="other")]
    yield "no agent at all", other, [fires(10), fires(20, ("IperfMeshAbsent",))]


def main():
    rules = Path(sys.argv[1]).resolve()
    tests = [
        {"name": name, "interval": "1m", "input_series": given, "promql_expr_test": checks}
        for name, given, checks in [*network(), *health()]
    ]
    unit = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(unit, file)
        file.flush()
        done = subprocess.run(["promtool", "test", "rules", file.name], check=False)
    print(f"alerts: {len(tests)} cases {'failed' if done.returncode else 'passed'}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
