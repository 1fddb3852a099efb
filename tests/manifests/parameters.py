"""Edits of the overlay `example`, at least one for each row of the table in docs/install.md, and
their results.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import kustomize
import validators


@dataclass
class Edit:
    """Replaces `old` by `new` in `file`. Then `found` must return `wanted` for the objects."""

    parameter: str
    old: str
    new: str
    found: Callable[[list], Any]
    wanted: Any
    file: str = "kustomization.yaml"


# Rows without an equivalent here; they give the reason.
NONE = {"`exporter.replicaCount`", "an existing Secret, a persistent volume"}


def only(objects, kind):
    (one,) = validators.of_kind(objects, kind)
    return one


def kinds(objects):
    return {one["kind"] for one in objects}


def variable(objects, name):
    """Returns the value of a variable that the DaemonSet itself sets."""
    return next(
        (one.get("value") for one in validators.container(objects)["env"] if one["name"] == name),
        None,
    )


def setting(name):
    """Reads a value from the ConfigMap that the pods use, whose name changes with its content."""

    def found(objects):
        (reference,) = validators.container(objects)["envFrom"]
        configs = {
            one["metadata"]["name"]: one["data"] for one in validators.of_kind(objects, "ConfigMap")
        }
        return configs[reference["configMapRef"]["name"]].get(name)

    return found


def names(objects):
    """Returns the names of the mesh in all places where they matter."""
    return {
        only(objects, "DaemonSet")["metadata"]["name"],
        only(objects, "ServiceAccount")["metadata"]["name"],
        only(objects, "Service")["metadata"]["name"],
        variable(objects, "MESH_JOIN"),
        validators.pod_spec(objects)["serviceAccountName"],
    }


def namespaces(objects):
    homes = {
        one["metadata"].get("namespace")
        for one in objects
        if one["kind"] not in validators.CLUSTER_WIDE
    }
    return homes | {only(objects, "Namespace")["metadata"]["name"]}


def of_pod(field):
    return lambda objects: validators.pod_spec(objects)[field]


def of_agent(field):
    return lambda objects: validators.container(objects)[field]


def without_api(objects):
    """Returns the kinds of roles, whether the pods get a token, and how agents find each other."""
    roles = {kind for kind in kinds(objects) if "Role" in kind}
    return (
        roles,
        validators.pod_spec(objects)["automountServiceAccountToken"],
        variable(objects, "MESH_DISCOVERY"),
    )


def monitors(objects):
    return sorted(kind for kind in kinds(objects) if kind.endswith("Monitor"))


def endpoint(field):
    return lambda objects: only(objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0][field]


def release(kind):
    return lambda objects: only(objects, kind)["metadata"]["labels"]["release"]


VERSION = re.search(r'(?m)^version = "(.+)"', (kustomize.ROOT / "Cargo.toml").read_text())[1]
IMAGE = "registry.example.com/net/iperf3-mesh"
MONITOR = "  - ../../components/pod-monitor\n"
PODS = "daemonset.yaml"
LABEL = "path: /metadata/labels/release\n        value: prometheus\n"
DIGEST = "sha256:" + 64 * "0"

EDITS = [
    Edit(
        "`nameOverride`, `fullnameOverride`",
        "namePrefix: blue-",
        "namePrefix: green-",
        names,
        {"green-iperf3-mesh"},
    ),
    Edit(
        "`nameOverride`, `fullnameOverride`",
        "namePrefix: blue-",
        "nameSuffix: -green",
        names,
        {"iperf3-mesh-green"},
    ),
    Edit(
        "the release's namespace",
        "namespace: net-observability",
        "namespace: mine",
        namespaces,
        {"mine"},
    ),
    Edit(
        "`exporter.image.repository`, `server.image.repository`",
        f"newName: {IMAGE}",
        "newName: registry.example.com/mine",
        of_agent("image"),
        f"registry.example.com/mine:{VERSION}",
    ),
    Edit(
        "`exporter.image.tag`, `server.image.tag`",
        f"newTag: {VERSION}",
        "newTag: 9.9.9",
        of_agent("image"),
        f"{IMAGE}:9.9.9",
    ),
    Edit(
        "`exporter.image.tag`, `server.image.tag`",
        f"newTag: {VERSION}",
        f"digest: {DIGEST}",
        of_agent("image"),
        f"{IMAGE}@{DIGEST}",
    ),
    Edit(
        "`exporter.image.pullPolicy`",
        "imagePullPolicy: Always",
        "imagePullPolicy: Never",
        of_agent("imagePullPolicy"),
        "Never",
        PODS,
    ),
    Edit(
        "`exporter.testInterval`",
        "IPERF_TEST_INTERVAL=120s",
        "IPERF_TEST_INTERVAL=600",
        setting("IPERF_TEST_INTERVAL"),
        "600",
    ),
    Edit(
        "`exporter.testTimeout`",
        "IPERF_TEST_TIMEOUT=15s",
        "IPERF_TEST_TIMEOUT=20",
        setting("IPERF_TEST_TIMEOUT"),
        "20",
    ),
    Edit(
        "`exporter.testProtocol`",
        "IPERF_TEST_PROTOCOL=both",
        "IPERF_TEST_PROTOCOL=udp",
        setting("IPERF_TEST_PROTOCOL"),
        "udp",
    ),
    Edit(
        "`exporter.resources`, `server.resources`",
        "resources:\n            requests:\n              cpu: 100m",
        "resources:\n            requests:\n              cpu: 2",
        of_agent("resources"),
        {"requests": {"cpu": 2, "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        PODS,
    ),
    Edit(
        "`server.nodeSelector`",
        "nodeSelector:\n        node.example.com/role: worker",
        "nodeSelector:\n        disk: fast",
        of_pod("nodeSelector"),
        {"kubernetes.io/os": "linux", "disk": "fast"},
        PODS,
    ),
    Edit(
        "`server.tolerations`",
        "      tolerations:\n        - key: dedicated",
        "      tolerations:\n        - key: mine",
        of_pod("tolerations"),
        [{"key": "mine", "operator": "Equal", "value": "network", "effect": "NoSchedule"}],
        PODS,
    ),
    Edit(
        "`rbac.create: false`",
        "  # - ../../components/no-rbac\n",
        "  - ../../components/no-rbac\n",
        without_api,
        (set(), False, "dns"),
    ),
    Edit(
        "`serviceAccount.name`",
        "serviceAccountName: iperf3-mesh",
        "serviceAccountName: mine",
        of_pod("serviceAccountName"),
        "mine",
        PODS,
    ),
    Edit("`serviceMonitor.enabled`", MONITOR, "", monitors, []),
    Edit(
        "`serviceMonitor.enabled`",
        MONITOR,
        MONITOR.replace("pod", "service"),
        monitors,
        ["ServiceMonitor"],
    ),
    Edit(
        "`serviceMonitor.interval`, `serviceMonitor.scrapeTimeout`",
        "podMetricsEndpoints/0/interval\n        value: 30s",
        "podMetricsEndpoints/0/interval\n        value: 45s",
        endpoint("interval"),
        "45s",
    ),
    Edit(
        "`serviceMonitor.interval`, `serviceMonitor.scrapeTimeout`",
        "podMetricsEndpoints/0/scrapeTimeout\n        value: 10s",
        "podMetricsEndpoints/0/scrapeTimeout\n        value: 20s",
        endpoint("scrapeTimeout"),
        "20s",
    ),
    Edit(
        "the label for the operator",
        f"{LABEL}  - target:",
        f"{LABEL}  - target:".replace("prometheus", "mine"),
        release("PodMonitor"),
        "mine",
    ),
    Edit(
        "the label for the operator",
        f"{LABEL}\n",
        f"{LABEL}\n".replace("prometheus", "mine"),
        release("PrometheusRule"),
        "mine",
    ),
    Edit(
        "every other setting",
        "behavior: merge\n    literals:\n",
        "behavior: merge\n    literals:\n      - IPERF_TEST_DURATION=7s\n",
        setting("IPERF_TEST_DURATION"),
        "7s",
    ),
]
