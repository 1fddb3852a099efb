"""The cases: functions of a `Bench`, in the order in which they run. The first line of each docstring is its title."""

from . import api_server, installation, matrix, nodes, rights, rollout

ALL = [
    installation.apply,
    installation.scrape,
    matrix.cells,
    matrix.values,
    matrix.dashboards,
    rights.minimal,
    api_server.away,
    rollout.change,
    nodes.drain,
    nodes.power_cut,
    nodes.join,
    rights.none,
    installation.ipv6,
    installation.pod_network,
    installation.remove,
]
# Without these the others have nothing to look at.
NEEDED = [installation.apply, installation.scrape, matrix.cells]
