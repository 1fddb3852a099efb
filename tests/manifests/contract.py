"""The names that dashboards, alerts and scripts made for the chart iperf3-monitor rely on.

docs/compatibility.md lists where each of them is in this project. The functions below check that it
is there, and print one line for each.
"""

import json
import re

from kustomize import ROOT

PAGE = ROOT / "docs/compatibility.md"
DASHBOARD = ROOT / "kustomize/components/grafana-dashboard/k8s-iperf3.json"

# The rows of the chart's table of values.
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

# All their series have these labels.
LABELS = ["source_node", "destination_node", "protocol"]

# Variables and their defaults; None if the default is not a fixed value.
SETTINGS = {
    "SOURCE_NODE_NAME": None,
    "IPERF_TEST_INTERVAL": "300s",
    "IPERF_TEST_DURATION": "5s",
    "IPERF_TEST_PROTOCOL": "tcp",
    # The agent derives it from the duration: 5 s + 5 s by default.
    "IPERF_TEST_TIMEOUT": None,
    "IPERF_SERVER_PORT": "5201",
    "IPERF_SERVER_NAMESPACE": None,
    "IPERF_SERVER_LABEL_SELECTOR": "app.kubernetes.io/name=iperf3-mesh",
    "LISTEN_PORT": "9876",
}

# The queries of the chart's dashboard, and our panel or variable that has them. Some of the queries
# have an open selector: {...}.
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


def promql(query):
    """Returns the PromQL for `query`: open selectors get the path, and `label_values` becomes a
    `group`.
    """
    query = query.replace("{...}", PATH)
    values = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    return f"group by ({values[2]}) ({values[1]})" if values else query


def pattern(query):
    """Returns a pattern for the same query in our dashboard: with any selector instead of an open
    one, and possibly with a condition at its end that leaves failed tests out.
    """
    literal = re.escape(query.removesuffix(")") if "{...}" in query else query)
    return literal.replace(re.escape("{...}"), r"\{[^}]*\}")


def our_queries():
    """Returns the queries of our dashboard, by panel or variable."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = {panel["title"]: panel["targets"][0]["expr"] for panel in dashboard["panels"]}
    variables = dashboard["templating"]["list"]
    return panels | {
        f"${one['name']}": one["definition"] for one in variables if one["type"] == "query"
    }


def queries(prometheus, substituted):
    """Finds problems with the queries and metrics on a `prometheus` that scrapes a mesh."""
    ours = our_queries()
    for query, place in QUERIES.items():
        found = prometheus.query(substituted(promql(query)))
        print(f"  {found:3} series  {query}  ->  {place}")
        if not found:
            yield f"{query} returns no series"
        if not re.match(pattern(query), ours.get(place, "")):
            yield f"{DASHBOARD.name} does not have the query {query} in {place}"
    for metric in METRICS:
        found = prometheus.query(f"count by ({', '.join(LABELS)}) ({metric})")
        print(f"  {found:3} cells   {metric}")
        if not found:
            yield f"{metric} is missing"
        for label in LABELS:
            if prometheus.query(f'{metric}{{{label}=""}}'):
                yield f"{metric} has series without the label {label}"


def settings(defaults):
    """Finds problems with the variables; `defaults` are those of the agent, by variable."""
    for variable, wanted in SETTINGS.items():
        if variable not in defaults:
            yield f"the agent has no variable {variable}"
        elif wanted is not None and defaults[variable] != wanted:
            yield f"the default of {variable} is {defaults[variable]}, not {wanted}"


def undocumented():
    """Finds names that the page does not mention."""
    page = PAGE.read_text()
    # None of the queries contains a bar, which would end the cell of a table.
    names = [*METRICS, *SETTINGS, *QUERIES]
    return [f"{PAGE.name} does not mention `{name}`" for name in names if f"`{name}`" not in page]
