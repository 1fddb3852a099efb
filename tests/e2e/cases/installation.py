"""Installing and removing the mesh, as described in docs/install.md."""

import re

from cluster import programs
from cluster.waiting import until
from mesh import NAMESPACE, PORT
from report import Skipped, expect
from waiting import Stopwatch, until_nothing

from . import keys


def apply(bench):
    """kubectl apply -k kustomize/overlays/prometheus-operator, and a key: an agent on each node"""
    definitions = programs.source_of("prometheus-operator") / "example/prometheus-operator-crd"
    bench.kubectl("apply", "--server-side", "-f", definitions)
    bench.kubectl("wait", "--for=condition=Established", "-f", definitions)
    stopwatch = Stopwatch()
    warnings = bench.apply("prometheus-operator")
    expect(not warnings, f"the API server warns: {warnings}")
    keys.missing(bench)
    bench.note(f"{len(bench.nodes)} pods wait for the key after {stopwatch}")
    stopwatch = Stopwatch()
    keys.put(bench, keys.line("first"))
    bench.roll_out()
    bench.note(f"all of them ready {stopwatch} after the Secret is there")
    pods = bench.pods()
    expect(
        sorted(pods) == sorted(bench.nodes), f"pods are on {sorted(pods)}, nodes are {bench.nodes}"
    )
    for node, pod in pods.items():
        (state,) = pod["status"]["containerStatuses"]
        expect(state["ready"] and not state["restartCount"], f"the agent on {node}: {state}")


def scrape(bench):
    """Prometheus, configured by its operator, scrapes all agents (overlay kube-prometheus)"""
    bench.apply("kube-prometheus", "grafana-dashboard")
    stopwatch = Stopwatch()
    bench.monitoring.start_operator()
    until(
        "the operator creates a scrape job",
        lambda: "podMonitor/iperf3-mesh" in bench.monitoring.configuration(),
        60,
    )
    until("the operator creates rules", bench.monitoring.rules, 60)
    bench.note(f"the operator has created its configuration after {stopwatch}")
    bench.prometheus = bench.monitoring.start_prometheus()
    until(
        "all agents are scraped", lambda: set(bench.mesh.by_node("up == 1")) == set(bench.nodes), 60
    )
    bench.note(f"all agents are scraped after {stopwatch}")
    until_nothing(
        "all rules are evaluated without error", lambda: unhealthy_rules(bench.prometheus), 120
    )


def unhealthy_rules(prometheus):
    """Returns the rules that have failed or were not evaluated yet."""
    groups = prometheus.get("rules")["groups"]
    expect(groups, "Prometheus has no rules")
    return [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]


def ipv6(bench):
    """The mesh changes from IPv4 to IPv6 (component ipv6)"""
    for node, pod in bench.pods().items():
        if not any(":" in address["ip"] for address in pod["status"]["podIPs"]):
            raise Skipped(f"nodes with IPv6, but {node} has none")
    stopwatch = Stopwatch()
    bench.apply("kube-prometheus", "grafana-dashboard", "ipv6")
    bench.roll_out()
    bench.note(f"rolled out after {stopwatch}")
    for node in bench.nodes:
        address = re.search(r'"the agent starts".*"address":"([^"]+)"', bench.log(node, stopwatch))
        expect(
            address and ":" in address[1],
            f"the agent on {node} has the address {address and address[1]}",
        )
    bench.until_full(since=stopwatch.date)
    bench.note(f"the matrix is full after {stopwatch}")


def pod_network(bench):
    """The mesh changes to the pod network (overlay pod-network), under "restricted" security"""
    stopwatch = Stopwatch()
    warnings = bench.apply("pod-network")
    about_old_pods = warnings and "existing pods" in warnings[0]
    expect(not warnings or about_old_pods, f"the API server warns: {warnings}")
    bench.roll_out()
    bench.note(f"rolled out after {stopwatch}")
    bench.kubectl("get", "networkpolicy", "iperf3-mesh", "-n", NAMESPACE)
    for node, pod in bench.pods().items():
        expect(
            not pod["spec"].get("hostNetwork"), f"the pod on {node} is still on the host network"
        )
        bench.cluster.reach(pod["status"]["podIP"], PORT)
    bench.until_full(since=stopwatch.date)
    bench.note(f"the matrix is full after {stopwatch}")


def remove(bench):
    """kubectl delete -k leaves nothing"""
    stopwatch = Stopwatch()
    bench.kubectl(
        "delete", "-k", bench.overlays.write("pod-network"), "--ignore-not-found", "--timeout=100s"
    )
    expect(not bench.kubectl.get("namespace", NAMESPACE), "the namespace is still there")
    kinds, label = "clusterroles,clusterrolebindings", "app.kubernetes.io/name=iperf3-mesh"
    left = bench.kubectl("get", kinds, "-l", label, "-o", "name")
    expect(not left, f"left behind: {left.split()}")
    bench.note(f"gone after {stopwatch}")
