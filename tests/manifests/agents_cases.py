"""Test cases for alerts on the agents. A period is 5 minutes, unless a case says otherwise."""

import owner
from expected_alerts import agent as impaired
from expected_alerts import fires, silence
from synthetic_series import (
    FOREVER,
    TARGET,
    agent,
    agents,
    cell,
    cell_series,
    cells,
    series,
    touching,
)

RUNBOOK = f"https://github.com/{owner.of_image()}/iperf3-mesh/blob/main/docs/runbook.md"


def cases():
    conflict = [
        series("iperf_mesh_members", 60, 1, instance=name, state="conflict") for name in "ab"
    ]
    yield (
        "two agents use the name c: one alert, on the conflict",
        agents("abc", 60)
        + conflict
        + [series("iperf_mesh_name_conflict", 60, 1, instance="c")]
        + cells("ab", 60)
        + cell("ac", 60, bad=[(0, FOREVER)])
        + cell("bc", 60, bad=[(0, FOREVER)])
        + reasons(["ac", "bc"], "name_conflict", 0, 60),
        [fires(9), fires(40, ("IperfMeshNameConflict",))],
    )
    yield (
        "the Secret of the key is lost: one alert, on that",
        agents("abc", 60)
        + [
            series("iperf_mesh_key_problem", 60, since(10), instance=name, reason="missing")
            for name in "abc"
        ]
        + [series("iperf_mesh_key_problem", 60, 0, instance="a", reason="invalid")]
        + cells("abc", 60),
        [fires(19), fires(21, ("IperfMeshKeyProblem",))],
    )
    foreign = [
        series("iperf_mesh_incompatible_peers", 60, since(10), instance=name) for name in "ab"
    ]
    yield (
        "an agent has an incompatible version: one alert, on that",
        agents("ab", 60)
        + foreign
        + cells("abc", 60, ["ac", "bc"], bad=[(10, FOREVER)])
        + reasons(["ac", "bc"], "incompatible", 10, 60),
        [fires(35), fires(45, ("IperfMeshIncompatible",))],
    )
    yield (
        "Prometheus cannot scrape c, but its peers test with it",
        agents("ab", 90, members=3)
        + agent("c", 90, members=3, down=[(20, FOREVER)])
        + cells("abc", 90, ["ca", "cb"], gone=[(20, FOREVER)]),
        [fires(53), fires(58, impaired("unscraped")), described(58, "unscraped", "c")],
    )
    yield (
        "an agent cannot be scraped, and three periods are 90 minutes",
        agents("ab", 150, members=3, sweep=1500, pause=300)
        + agent("c", 150, members=3, down=[(20, FOREVER)])
        + cells("abc", 150, ["ca", "cb"], gone=[(20, FOREVER)]),
        [fires(125), fires(133, impaired("unscraped"))],
    )
    yield (
        "half of the agents cannot be scraped: one alert",
        agents("abc", 90, members=6)
        + agents("def", 90, down=[(20, FOREVER)])
        + cells(
            "abcdef",
            90,
            [name for name in touching("abcdef", "def") if name[0] in "def"],
            gone=[(20, FOREVER)],
        ),
        [fires(60, impaired("unscraped")), described(60, "unscraped", "d", "e", "f")],
    )
    yield (
        "the agent of a new node never starts",
        agents("ab", 90)
        + cells("ab", 90)
        + agent("c", 90, members=1, known=20, down=[(0, FOREVER)]),
        [fires(53), fires(58, impaired("unscraped"))],
    )
    crashes = [(minute, minute + 2) for minute in range(20, 120, 10)]
    yield (
        "an agent restarts every ten minutes, and tests in between",
        agents("ab", 120, members=3) + agent("c", 120, members=3, down=crashes) + cells("abc", 120),
        [fires(50), fires(65, impaired("restarting")), described(65, "restarting", "c")],
    )
    yield (
        "all cells of a row have no new results",
        agents("abc", 60) + cells("abc", 60, ["ab", "ac"], stuck=20),
        [fires(33), fires(42, impaired("stuck"))],
    )
    yield (
        "no agent has new results, and c never had any: one alert",
        agents("abc", 60) + cells("ab", 60, ["ab", "ba"], stuck=10),
        [fires(14), fires(40, impaired("stuck")), described(40, "stuck", "a", "b", "c")],
    )
    yield (
        "c and the other agents do not know about each other",
        agents("ab", 60) + agents("c", 60) + cells("ab", 60),
        [fires(14), fires(20, ("IperfMeshSplit",))],
    )
    yield (
        "gossip is blocked: agents know each other from Kubernetes",
        agents("abc", 90, members=1)
        + [series("iperf_mesh_members", 60, 2, instance=name, state="missing") for name in "abc"],
        [fires(14), fires(20, ("IperfMeshSplit",)), fires(80, ("IperfMeshSplit",))],
    )
    yield (
        "no API server: two agents had an answer before, one never",
        agents("abc", 120)
        + cells("abc", 120)
        + discovery("ab", 120, 20)
        + discovery("c", 120, None),
        [
            fires(25),
            fires(45, ("IperfMeshDiscoveryFailing",)),
            fires(110, ("IperfMeshDiscoveryFailing",)),
        ],
    )
    yield (
        "the API server is down for ten minutes: no alert",
        agents("abc", 90) + cells("abc", 90) + discovery("abc", 90, 20, 30),
        silence(25, 40, 60, 90),
    )
    yield (
        "the API server is down for ten minutes, clocks are two weeks behind: no alert",
        agents("abc", 90)
        + cells("abc", 90)
        + discovery("abc", 90, 20, 30, clock=-14 * 86400),
        silence(25, 40, 60, 90),
    )
    room = [series("iperf_mesh_gossip_digest_max_bytes", 30, 47000, instance=name) for name in "ab"]
    digest = [
        series("iperf_mesh_gossip_digest_bytes", 30, used, instance=name)
        for name, used in (("a", 42000), ("b", 20000))
    ]
    yield (
        "the list of members is nearly full",
        agents("ab", 30) + cells("ab", 30) + room + digest,
        [fires(14), fires(16, ("IperfMeshFull",))],
    )
    yield (
        "an overlap raises an alert for an hour",
        agents("ab", 120)
        + cells("ab", 120)
        + [series("iperf_mesh_overlaps_total", 120, since(21), instance="a")],
        [fires(20), fires(25, ("IperfMeshOverlap",)), fires(90)],
    )
    other = [series("up", 30, 0, instance="other")]
    yield "Prometheus scrapes no agent", other, [fires(10), fires(20, ("IperfMeshAbsent",))]


def since(minute):
    return lambda now: int(now >= minute)


def reasons(names, reason, first, end):
    def value(minute):
        return 1 if minute >= first else None

    return [
        cell_series("iperf_mesh_cell_failure", name, end, value, reason=reason) for name in names
    ]


def discovery(nodes, end, fails, recovers=FOREVER, clock=0):
    """Returns the series of discovery: the API server fails from one minute on, and recovers at
    another. The clocks of the nodes are wrong by `clock` seconds.

    If `fails` is None, it has failed since the start, and never answered.
    """

    def success(minute):
        if fails is None:
            return None
        last = minute if minute < fails or minute >= recovers else fails - 1
        return 60 * last + clock

    def failures(minute):
        """The counter is absent before the first failure."""
        return None if minute < (fails or 0) else min(minute, recovers) - (fails or 0) + 1

    return [
        one
        for name in nodes
        for one in (
            series("iperf_mesh_discovery_success_timestamp_seconds", end, success, instance=name),
            series(
                "iperf_mesh_discovery_failures_total",
                end,
                failures,
                instance=name,
                reason="forbidden",
            ),
        )
    ]


def described(minute, problem, *nodes):
    """Expects an alert on agents whose description names these nodes."""
    return {
        "eval_time": f"{minute}m",
        "alertname": "IperfMeshAgentImpaired",
        "exp_alerts": [
            {
                "exp_labels": TARGET | {"severity": "warning", "problem": problem},
                "exp_annotations": {
                    "summary": f"Agents of iperf3-mesh are impaired ({problem}): {len(nodes)}.",
                    "description": "Rows of the matrix are missing or old, and the network is not "
                    f"known to be the cause. Up to five of the nodes: {' '.join(nodes)} ",
                    "runbook_url": f"{RUNBOOK}#iperfmeshagentimpaired",
                },
            }
        ],
    }
