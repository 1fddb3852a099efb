"""What the agents may do on the cluster, and that they can do without."""

from cluster.waiting import until
from mesh import NAMESPACE
from report import expect
from waiting import Watch

AGENT = f"system:serviceaccount:{NAMESPACE}:iperf3-mesh"
NOBODY = f"system:serviceaccount:{NAMESPACE}:default"
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
            # Its exit code says it, too.
            asked = bench.kubectl.run("auth", "can-i", "-n", NAMESPACE, "--as", AGENT, *question.split())
            answer = asked.stdout.strip()
            expect(answer == wanted, f"may they {question}? {answer}")
    more = rules(bench, AGENT) - rules(bench, NOBODY)
    expect(len(more) == 1, f"beyond what every account may they have {more}")
    bench.note(f"beyond what every account may: {' '.join(more.pop().split())}")


def rules(bench, account):
    return set(bench.kubectl("auth", "can-i", "--list", "--no-headers", "-n", NAMESPACE, "--as", account).splitlines())


def none(bench):
    """Without any rights (component no-rbac) the agents find each other by DNS"""
    bench.kubectl("delete", "role,rolebinding", "iperf3-mesh", "-n", NAMESPACE)
    watch = Watch()
    bench.apply("kube-prometheus", "grafana-dashboard", "no-rbac")
    bench.roll_out()
    for node, pod in bench.pods().items():
        tokens = [volume for volume in pod["spec"]["volumes"] if "projected" in volume]
        expect(not tokens, f"the pod on {node} has a token: {tokens}")
    bench.until_full(since=watch.date)
    bench.note(f"the matrix is full after {watch}")
    until("no agent asks the API", lambda: not bench.prometheus.query("iperf_mesh_discovery_failures_total"), 30)
