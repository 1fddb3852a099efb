"""The agents' rights on the cluster, and a mesh without any rights."""

from cluster.waiting import until
from mesh import NAMESPACE
from report import expect
from waiting import Stopwatch

AGENT = f"system:serviceaccount:{NAMESPACE}:iperf3-mesh"
DEFAULT = f"system:serviceaccount:{NAMESPACE}:default"
MAY = ["get pods", "list pods", "watch pods"]
MUST_NOT = [
    "list pods -n default",
    "list pods --all-namespaces",
    "create pods",
    "delete pods",
    "create pods/exec",
    "get secrets",
    "get configmaps",
    "list nodes",
    "list services",
    "patch daemonsets.apps",
]


def minimal(bench):
    """The agents may get, list and watch the pods of their namespace, and nothing else"""
    for wanted, questions in {"yes": MAY, "no": MUST_NOT}.items():
        for question in questions:
            # For "no", can-i also exits with an error code.
            done = bench.kubectl.run(
                "auth", "can-i", "-n", NAMESPACE, "--as", AGENT, *question.split()
            )
            answer = done.stdout.strip()
            expect(answer == wanted, f"may the agents {question}? {answer}")
    more = rules(bench, AGENT) - rules(bench, DEFAULT)
    expect(len(more) == 1, f"in addition to the default account's rights, the agents have {more}")
    bench.note(f"in addition to the default account's rights: {' '.join(more.pop().split())}")


def rules(bench, account):
    return set(
        bench.kubectl(
            "auth", "can-i", "--list", "--no-headers", "-n", NAMESPACE, "--as", account
        ).splitlines()
    )


def none(bench):
    """Without any rights (component no-rbac), the agents find each other by DNS"""
    bench.kubectl("delete", "role,rolebinding", "iperf3-mesh", "-n", NAMESPACE)
    stopwatch = Stopwatch()
    bench.apply("kube-prometheus", "grafana-dashboard", "no-rbac")
    bench.roll_out()
    for node, pod in bench.pods().items():
        tokens = [volume for volume in pod["spec"]["volumes"] if "projected" in volume]
        expect(not tokens, f"the pod on {node} has a token: {tokens}")
    bench.until_full(since=stopwatch.date)
    bench.note(f"the matrix is full after {stopwatch}")
    until(
        "no agent asks the API",
        lambda: not bench.prometheus.query("iperf_mesh_discovery_failures_total"),
        30,
    )
