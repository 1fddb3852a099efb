"""What must be true of a set of objects that is applied together. Each function yields complaints, in words.

Schemas say what the API server takes; the rest is what it takes and what does not work all the same.
"""

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


def complaints(objects, agent):
    """All of them, for objects that are applied together, and the `agent` that they run."""
    yield from schema(objects)
    yield from names(objects)
    yield from safety(pod_spec(objects))
    yield from addresses(objects, agent)
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
    """The variables that the agent gets, with their values; what the downward API gives is empty."""
    referred = {one["configMapRef"]["name"] for one in container(objects)["envFrom"]}
    configs = [one["data"] for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] in referred]
    own = {variable["name"]: variable.get("value", "") for variable in container(objects)["env"]}
    return {name: value for config in configs for name, value in config.items()} | own


def schema(objects):
    """Every object has what its schema asks for, and no field that the schema does not know."""
    for one in objects:
        what = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] in OPERATOR:
            yield from (f"{what}: {why}" for why in custom(one))
            continue
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{what}, Kubernetes {version}: {error.message}"


def custom(resource):
    """The model drops what it does not know: what does not come back is unknown."""
    model = OPERATOR[resource["kind"]]
    try:
        read = model.model_validate(resource)
    except ValidationError as error:
        yield str(error)
        return
    back = read.model_dump(by_alias=True, exclude_unset=True, mode="json")
    yield from (f"unknown field {path}" for path in lost(resource, back, ""))


def lost(given, back, path):
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(back, dict) or key not in back:
                yield f"{path}.{key}"
            else:
                yield from lost(value, back[key], f"{path}.{key}")
    elif isinstance(given, list):
        for index, (one, other) in enumerate(zip(given, back, strict=True)):
            yield from lost(one, other, f"{path}[{index}]")


def names(objects):
    """One namespace for all, and whatever is referred to is there."""
    (namespace,) = of_kind(objects, "Namespace")
    home = namespace["metadata"]["name"]
    known = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for one in objects:
        if one["kind"] not in CLUSTER_WIDE and one["metadata"].get("namespace") != home:
            yield f"{one['kind']} {one['metadata']['name']} is not in {home}"
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "iperf3-mesh":
            yield f"{one['kind']} {one['metadata']['name']} lacks the label of the mesh"
        if one["kind"].endswith("RoleBinding"):
            role = (one["roleRef"]["kind"], one["roleRef"]["name"])
            if role not in known:
                yield f"{one['kind']} refers to {role}, which is missing"
    referred = [("ServiceAccount", pod_spec(objects)["serviceAccountName"])]
    referred += [("ConfigMap", one["configMapRef"]["name"]) for one in container(objects)["envFrom"]]
    yield from (f"the pods refer to {one}, which is missing" for one in referred if one not in known)
    subjects = [subject for one in objects if one["kind"].endswith("RoleBinding") for subject in one["subjects"]]
    account = {"kind": "ServiceAccount", "name": pod_spec(objects)["serviceAccountName"], "namespace": home}
    if pod_spec(objects)["automountServiceAccountToken"] != (account in subjects):
        yield f"token and rights of {account['name']} do not go together"


def safety(spec):
    """As tight as the Pod Security Standard "restricted", but for the network; and able to measure."""
    pod = spec["securityContext"]
    if not pod.get("runAsNonRoot") or pod.get("runAsUser") != 65532:
        yield "pods run as root"
    if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "pods have no seccomp profile"
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
        yield "a limit on the processor falsifies, one on memory is due"
    on_host = spec.get("hostNetwork", False)
    if spec["dnsPolicy"] != ("ClusterFirstWithHostNet" if on_host else "ClusterFirst"):
        yield "the pods' resolver does not know Services"
    for port in spec["containers"][0]["ports"]:
        if port.get("hostPort") != (port["containerPort"] if on_host else None):
            yield f"port {port['name']}: the host port does not fit the network"


def addresses(objects, agent):
    """Ports, paths and variables are those of the program."""
    one = container(objects)
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    if ports != agent.ports:
        yield f"the pods declare {ports}, the agent has {agent.ports}"
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = one[kind]["httpGet"]
        if probe["port"] != "metrics" or probe["path"] not in agent.paths:
            yield f"the {kind} asks for {probe['path']} of the port {probe['port']}, which is not answered"
    variables = settings(objects)
    for variable in sorted(set(variables) - set(agent.variables)):
        yield f"the agent knows no variable {variable}"
    yield from agent.refusals(variables)
    (service,) = of_kind(objects, "Service")
    if variables["MESH_JOIN"] != service["metadata"]["name"]:
        yield f"the agents join {variables['MESH_JOIN']}, which is not the Service"
    numbers = [port["port"] for port in service["spec"]["ports"]]
    if len(set(numbers)) < len(numbers):
        yield "a number stands for TCP and UDP at once, which kubectl apply confuses"
    for port in service["spec"]["ports"]:
        if ports.get(port["targetPort"]) != port["port"]:
            yield f"the Service's port {port['name']} leads nowhere"
    for policy in of_kind(objects, "NetworkPolicy"):
        yield from admitted(policy, agent)
    asked = pod_template(objects)["metadata"].get("annotations", {})
    if asked and (asked["prometheus.io/port"], asked["prometheus.io/path"]) != (str(ports["metrics"]), "/metrics"):
        yield f"the annotations lead Prometheus to {asked}"


def admitted(policy, agent):
    """The policy admits peers to all ports of an agent, iperf3's for TCP and UDP."""
    rules = policy["spec"]["ingress"][0]["ports"]
    wanted = {(agent.ports["metrics"], "TCP"), (agent.ports["control"], "TCP"), (agent.ports["gossip"], "UDP")}
    wanted |= {(port, protocol) for port in agent.iperf_ports for protocol in ("TCP", "UDP")}
    open_ports = {
        (port, rule.get("protocol", "TCP"))
        for rule in rules
        for port in range(rule["port"], rule.get("endPort", rule["port"]) + 1)
    }
    if open_ports != wanted:
        yield f"the policy differs from the agent in {sorted(open_ports ^ wanted)}"


def selectors(objects, agent):
    """Whatever selects pods or Services finds them, and monitors name a port that is there."""
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
        named = {port["name"] for port in container(objects)["ports"]}
        yield from missing_ports(monitor["spec"]["podMetricsEndpoints"], named)
    for monitor in of_kind(objects, "ServiceMonitor"):
        if not monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items():
            yield "the ServiceMonitor selects no Service"
        named = {port["name"] for port in service["spec"]["ports"]}
        yield from missing_ports(monitor["spec"]["endpoints"], named)
    for kind, labels in wanted.items():
        if not labels.items() <= pods.items():
            yield f"the {kind} selects no pod: {labels}"


def missing_ports(endpoints, named):
    for endpoint in endpoints:
        if endpoint["port"] not in named:
            yield f"a monitor scrapes the port {endpoint['port']}, which is missing"
