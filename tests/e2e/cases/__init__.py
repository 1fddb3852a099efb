"""The cases in the order in which they run: functions of a `Bench`. Docstrings are their titles."""

from . import api_server, installation, keys, matrix, nodes, rights, rollout

ALL = [
    installation.apply,
    installation.scrape,
    matrix.cells,
    matrix.values,
    matrix.dashboards,
    keys.rotate,
    keys.lose,
    rights.minimal,
    api_server.outage,
    rollout.change,
    nodes.drain,
    nodes.power_cut,
    nodes.join,
    nodes.replace,
    rights.none,
    installation.ipv6,
    installation.pod_network,
    installation.remove,
]
# All other cases need these.
NEEDED = [installation.apply, installation.scrape, matrix.cells]
