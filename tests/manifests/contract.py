"""What dashboards, alerts and scripts that were made for the chart iperf3-monitor rely on, word for word.

docs/compatibility.md says of each where it is here; the functions below check that it is, and say so line by line.
"""

import json
import re

from rendering import ROOT

PAGE = ROOT / "docs/compatibility.md"
DASHBOARD = ROOT / "kustomize/components/grafana-dashboard/k8s-iperf3.json"

# The rows of its table of values.
PARAMETERS = [
    "nameOverride",
    "fullnameOverride",
    "exporter.image.repository",
    "exporter.image.tag",
    "exporter.image.pullPolicy",
    "exporter.replicaCount",
    "exporter.testInterval",
    "exporter.testTimeout",
    "exporter.testProtocol",
    "exporter.resources",
    "server.image.repository",
    "server.image.tag",
    "server.resources",
    "server.nodeSelector",
    "server.tolerations",
    "rbac.create",
    "serviceAccount.name",
    "serviceMonitor.enabled",
    "serviceMonitor.interval",
    "serviceMonitor.scrapeTimeout",
]

METRICS = [
    "iperf_network_bandwidth_mbps",
    "iperf_network_jitter_ms",
    "iperf_network_packets_total",
    "iperf_network_lost_packets_total",
    "iperf_test_success",
]

# Every one of their series has them.
LABELS = ["source_node", "destination_node", "protocol"]

# Variables and their defaults; None is for the downward API, or the pod itself, to say.
SETTINGS = {
    "SOURCE_NODE_NAME": None,
    "IPERF_TEST_INTERVAL": "300s",
    "IPERF_TEST_DURATION": "5s",
    "IPERF_TEST_PROTOCOL": "tcp",
    "IPERF_TEST_TIMEOUT": "10s",
    "IPERF_SERVER_PORT": "5201",
    "IPERF_SERVER_NAMESPACE": None,
    "IPERF_SERVER_LABEL_SELECTOR": "app.kubernetes.io/name=iperf3-mesh",
    "LISTEN_PORT": "9876",
}

# The queries of its dashboard, and the panel or variable of ours that asks them. It leaves some selectors open: {...}.
PATH = '{source_node="$source_node", destination_node="$destination_node"}'
QUERIES = {
    "avg(iperf_network_bandwidth_mbps) by (source_node, destination_node)": "Node-to-Node Bandwidth Heatmap",
    f"iperf_network_bandwidth_mbps{PATH}": "Bandwidth Over Time (Source: $source_node, Dest: $destination_node)",
    f'iperf_network_jitter_ms{PATH[:-1]}, protocol="udp"}}': (
        "Jitter Over Time (Source: $source_node, Dest: $destination_node)"
    ),
    "(iperf_network_lost_packets_total{...} / iperf_network_packets_total{...}) * 100": "Packet Loss (%)",
    "avg(iperf_network_bandwidth_mbps{...})": "Average Bandwidth",
    "min(iperf_network_bandwidth_mbps{...})": "Minimum Bandwidth",
    "max(iperf_network_jitter_ms{...})": "Maximum Jitter",
    "label_values(iperf_network_bandwidth_mbps, source_node)": "$source_node",
    'label_values(iperf_network_bandwidth_mbps{source_node="$source_node"}, destination_node)': "$destination_node",
}


def asked(query):
    """What Prometheus is asked for `query`: with the path in open selectors, and a variable's values as series."""
    query = query.replace("{...}", PATH)
    values = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    return f"group by ({values[2]}) ({values[1]})" if values else query


def pattern(query):
    """The same query in our dashboard: its open selectors filled, and failed tests perhaps left out at its end."""
    literal = re.escape(query.removesuffix(")") if "{...}" in query else query)
    return literal.replace(re.escape("{...}"), r"\{[^}]*\}")


def places():
    """What our dashboard asks, by panel or variable."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = {panel["title"]: panel["targets"][0]["expr"] for panel in dashboard["panels"]}
    variables = dashboard["templating"]["list"]
    return panels | {f"${one['name']}": one["definition"] for one in variables if one["type"] == "query"}


def queries(prometheus, substituted):
    """Complaints about the queries and the metrics, asked of a `prometheus` that scrapes a mesh."""
    ours = places()
    for query, place in QUERIES.items():
        found = prometheus.query(substituted(asked(query)))
        print(f"  {found:3} series  {query}  ->  {place}")
        if not found:
            yield f"nothing found by {query}"
        if not re.match(pattern(query), ours.get(place, "")):
            yield f"{DASHBOARD.name} does not ask {query} in {place}"
    for metric in METRICS:
        found = prometheus.query(f"count by ({', '.join(LABELS)}) ({metric})")
        print(f"  {found:3} cells   {metric}")
        if not found:
            yield f"{metric} is missing"
        for label in LABELS:
            if prometheus.query(f'{metric}{{{label}=""}}'):
                yield f"{metric} is there without {label}"


def settings(defaults):
    """Complaints about the variables; `defaults` are those of the agent, by variable."""
    for variable, wanted in SETTINGS.items():
        if variable not in defaults:
            yield f"the agent knows no variable {variable}"
        elif wanted is not None and defaults[variable] != wanted:
            yield f"{variable} is {defaults[variable]} by default, not {wanted}"


def undocumented():
    """What the page does not speak of."""
    page = PAGE.read_text()
    # In a table a bar ends the cell; none of the queries has one.
    words = [*METRICS, *SETTINGS, *QUERIES]
    return [f"{PAGE.name} does not say where `{word}` is" for word in words if f"`{word}`" not in page]
