"""Validates a set of objects that are applied together. Each function yields problems as text.

The schemas define what the API server accepts. The other checks find mistakes that it accepts, and
that do not work.
"""

from pathlib import PurePosixPath

import kubernetes_validate
from cloudcoil.models.prometheus_operator import v1 as operator
from pydantic import ValidationError

# An old, a current and a new Kubernetes.
KUBERNETES = ["1.27", "1.33", "1.37"]
OPERATOR = {
    "PodMonitor": operator.PodMonitor,
    "ServiceMonitor": operator.ServiceMonitor,
    "PrometheusRule": operator.PrometheusRule,
}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding"}


def problems(objects, agent):
    """Runs all checks on objects that are applied together, and on the `agent` that they run."""
    yield from schema(objects)
    yield from references(objects)
    yield from security(pod_spec(objects))
    yield from key(pod_spec(objects), settings(objects))
    yield from interfaces(objects, agent)
    yield from selectors(objects, agent)


def of_kind(objects, kind):
    return [one for one in objects if one["kind"] == kind]


def pod_template(objects):
    (daemonset,) = of_kind(objects, "DaemonSet")
    return daemonset["spec"]["template"]


def pod_spec(objects):
    return pod_template(objects)["spec"]


def container(objects):
    return pod_spec(objects)["containers"][0]


def settings(objects):
    """Returns the agent's variables and values; those from the downward API are empty."""
    names = {one["configMapRef"]["name"] for one in container(objects)["envFrom"]}
    configs = [
        one["data"] for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] in names
    ]
    own = {variable["name"]: variable.get("value", "") for variable in container(objects)["env"]}
    return {name: value for config in configs for name, value in config.items()} | own


def schema(objects):
    """Checks that every object has all fields that its schema requires, and no unknown ones."""
    for one in objects:
        what = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] in OPERATOR:
            yield from (f"{what}: {problem}" for problem in custom(one))
            continue
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{what}, Kubernetes {version}: {error.message}"


def custom(resource):
    """Checks a custom resource. The model drops unknown fields, so a round trip reveals them."""
    model = OPERATOR[resource["kind"]]
    try:
        parsed = model.model_validate(resource)
    except ValidationError as error:
        yield str(error)
        return
    dumped = parsed.model_dump(by_alias=True, exclude_unset=True, mode="json")
    yield from (f"unknown field {path}" for path in dropped_fields(resource, dumped, ""))


def dropped_fields(before, after, path):
    if isinstance(before, dict):
        for key, value in before.items():
            if not isinstance(after, dict) or key not in after:
                yield f"{path}.{key}"
            else:
                yield from dropped_fields(value, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from dropped_fields(one, other, f"{path}[{index}]")


def references(objects):
    """Checks that all objects are in one namespace, and that all objects referred to exist."""
    (namespace,) = of_kind(objects, "Namespace")
    home = namespace["metadata"]["name"]
    known = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for one in objects:
        if one["kind"] not in CLUSTER_WIDE and one["metadata"].get("namespace") != home:
            yield f"{one['kind']} {one['metadata']['name']} is not in {home}"
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "iperf3-mesh":
            yield f"{one['kind']} {one['metadata']['name']} lacks the label app.kubernetes.io/name"
        if one["kind"].endswith("RoleBinding"):
            role = (one["roleRef"]["kind"], one["roleRef"]["name"])
            if role not in known:
                yield f"{one['kind']} refers to {role}, which does not exist"
    targets = [("ServiceAccount", pod_spec(objects)["serviceAccountName"])]
    targets += [("ConfigMap", one["configMapRef"]["name"]) for one in container(objects)["envFrom"]]
    yield from (
        f"the pods refer to {one}, which does not exist" for one in targets if one not in known
    )
    subjects = [
        subject
        for one in objects
        if one["kind"].endswith("RoleBinding")
        for subject in one["subjects"]
    ]
    account = {
        "kind": "ServiceAccount",
        "name": pod_spec(objects)["serviceAccountName"],
        "namespace": home,
    }
    if pod_spec(objects)["automountServiceAccountToken"] != (account in subjects):
        yield f"the token and the rights of {account['name']} do not match"


def security(spec):
    """Checks that pods meet the Pod Security Standard "restricted", except for the network, and can
    measure.
    """
    pod = spec["securityContext"]
    if not pod.get("runAsNonRoot") or pod.get("runAsUser") != 65532:
        yield "the pods may run as root"
    if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "the pods have no seccomp profile"
    for one in [*spec["containers"], *spec.get("initContainers", [])]:
        context = one.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{one['name']} may escalate its privileges"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{one['name']} may write to its root file system"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{one['name']} has capabilities"
        if "/tmp" not in {mount["mountPath"] for mount in one.get("volumeMounts", [])}:
            yield f"{one['name']} has no /tmp, without which iperf3 fails"
    resources = spec["containers"][0]["resources"]
    if "cpu" in resources["limits"] or "memory" not in resources["limits"]:
        yield "the agent must have a memory limit, and no CPU limit (which would distort results)"
    on_host = spec.get("hostNetwork", False)
    if spec["dnsPolicy"] != ("ClusterFirstWithHostNet" if on_host else "ClusterFirst"):
        yield "the pods' resolver cannot resolve Services"
    for port in spec["containers"][0]["ports"]:
        if port.get("hostPort") != (port["containerPort"] if on_host else None):
            yield f"port {port['name']}: the host port does not match the network"


def key(spec, variables):
    """Checks that the agent finds the key in its Secret, may read it, and starts without it."""
    file = PurePosixPath(variables["MESH_KEY_FILE"])
    mounts = {one["mountPath"]: one for one in spec["containers"][0]["volumeMounts"]}
    # Kubernetes never changes a file that is mounted by itself (subPath).
    mount = mounts.get(str(file.parent), {"subPath": ""})
    if file.name != "keys" or "subPath" in mount:
        yield f"the key file is {file}, which is not in a volume"
        return
    (volume,) = [one for one in spec["volumes"] if one["name"] == mount["name"]]
    wanted = {"secretName": "iperf3-mesh-key", "optional": True, "defaultMode": 0o440}
    if volume.get("secret") != wanted:
        yield f"the Secret of the key is {volume.get('secret')}, not {wanted}"
    if spec["securityContext"].get("fsGroup") != spec["securityContext"].get("runAsGroup"):
        yield "the agent's group may not read the key"


def interfaces(objects, agent):
    """Checks that ports, paths and variables are those of the agent."""
    one = container(objects)
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    if ports != agent.ports:
        yield f"the pods declare {ports}, but the agent has {agent.ports}"
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = one[kind]["httpGet"]
        if probe["port"] != "metrics" or probe["path"] not in agent.paths:
            yield f"the {kind} requests {probe['path']} on port {probe['port']}, which fails"
    variables = settings(objects)
    for variable in sorted(set(variables) - set(agent.variables)):
        yield f"the agent has no variable {variable}"
    yield from agent.refusals(variables)
    (service,) = of_kind(objects, "Service")
    if variables["MESH_JOIN"] != service["metadata"]["name"]:
        yield f"the agents join {variables['MESH_JOIN']}, which is not the Service"
    numbers = [port["port"] for port in service["spec"]["ports"]]
    if len(set(numbers)) < len(numbers):
        yield "the Service has one number for TCP and UDP, which kubectl apply confuses"
    for port in service["spec"]["ports"]:
        if ports.get(port["targetPort"]) != port["port"]:
            yield f"the Service's port {port['name']} does not match a port of the pods"
    for policy in of_kind(objects, "NetworkPolicy"):
        yield from policy_ports(policy, agent)
    annotations = pod_template(objects)["metadata"].get("annotations", {})
    target = (annotations.get("prometheus.io/port"), annotations.get("prometheus.io/path"))
    if annotations and target != (str(ports["metrics"]), "/metrics"):
        yield f"the annotations point Prometheus to {target}"


def policy_ports(policy, agent):
    """Checks that the policy admits peers to all ports of an agent, including iperf3's for TCP and
    UDP.
    """
    rules = policy["spec"]["ingress"][0]["ports"]
    wanted = {
        (agent.ports["metrics"], "TCP"),
        (agent.ports["control"], "TCP"),
        (agent.ports["gossip"], "UDP"),
    }
    wanted |= {(port, protocol) for port in agent.iperf_ports for protocol in ("TCP", "UDP")}
    open_ports = {
        (port, rule.get("protocol", "TCP"))
        for rule in rules
        for port in range(rule["port"], rule.get("endPort", rule["port"]) + 1)
    }
    if open_ports != wanted:
        yield f"the NetworkPolicy differs from the agent's ports in {sorted(open_ports ^ wanted)}"


def selectors(objects, agent):
    """Checks that all selectors match, and that monitors refer to existing ports."""
    (daemonset,) = of_kind(objects, "DaemonSet")
    (service,) = of_kind(objects, "Service")
    pods = pod_template(objects)["metadata"]["labels"]
    wanted = {
        "DaemonSet": daemonset["spec"]["selector"]["matchLabels"],
        "Service": service["spec"]["selector"],
        "agent": dict([agent.variables["IPERF_SERVER_LABEL_SELECTOR"].split("=")]),
    }
    for policy in of_kind(objects, "NetworkPolicy"):
        wanted["NetworkPolicy"] = policy["spec"]["podSelector"]["matchLabels"]
    for monitor in of_kind(objects, "PodMonitor"):
        wanted["PodMonitor"] = monitor["spec"]["selector"]["matchLabels"]
        names = {port["name"] for port in container(objects)["ports"]}
        yield from missing_ports(monitor["spec"]["podMetricsEndpoints"], names)
    for monitor in of_kind(objects, "ServiceMonitor"):
        if (
            not monitor["spec"]["selector"]["matchLabels"].items()
            <= service["metadata"]["labels"].items()
        ):
            yield "the ServiceMonitor selects no Service"
        names = {port["name"] for port in service["spec"]["ports"]}
        yield from missing_ports(monitor["spec"]["endpoints"], names)
    for kind, labels in wanted.items():
        if not labels.items() <= pods.items():
            yield f"the {kind} selects no pod: {labels}"


def missing_ports(endpoints, names):
    for endpoint in endpoints:
        if endpoint["port"] not in names:
            yield f"a monitor scrapes the port {endpoint['port']}, which does not exist"
