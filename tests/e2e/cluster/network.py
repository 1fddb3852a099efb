"""The cluster's network: one switch with a port for the control plane and one for each node, and
their speeds.

All have addresses of both families, from the ranges for benchmarks (RFC 2544 and RFC 5180), which
no real network uses. None of the addresses is visible outside of the cluster.

    198.18.0.1         2001:2::1            control plane: API server and DNS, the only Services
    198.18.0.10+N      2001:2::10+N         node N
    198.18.10+N.0/24   2001:2:0:10+N::/64   the pods of node N
    198.19.0.0/24      2001:2:0:1::/112     Services
"""

from dataclasses import dataclass

from .machine import Network

CONTROL_PLANE = ["198.18.0.1", "2001:2::1"]
NODE = ["198.18.0.{}", "2001:2::{}"]
PREFIXES = [24, 64]
PODS = ["198.18.{}.0/24", "2001:2:0:{}::/64"]
SERVICES = ["198.19.0.0/24", "2001:2:0:1::/112"]
API_SERVER = "198.19.0.1"
DNS = "198.19.0.10"
LARGEST = 9
# The payload's share of a frame: of its 14 + 1500 bytes, IPv4 takes 20 and TCP with timestamps 32.
PAYLOAD = 1448 / 1514


@dataclass(frozen=True)
class Link:
    """The speed of a node's port, in Mbit/s on the wire."""

    egress: int
    ingress: int


# Chosen so that the source limits some pairs and the destination others, and that swapping rows and
# columns of the matrix gives a different one.
LINKS = {1: Link(60, 120), 2: Link(140, 80), 3: Link(100, 40)}
LINK_OF_OTHERS = Link(70, 90)


def link(number):
    """Returns the link of a node."""
    return LINKS.get(number, LINK_OF_OTHERS)


def addresses(number):
    """Returns the addresses of a node."""
    return [node.format(10 + number) for node in NODE]


def pods(number):
    """Returns the address ranges of a node's pods."""
    return [block.format(10 + number) for block in PODS]


class Switch:
    """The switch that connects all ports."""

    def __init__(self):
        self.network = Network()
        self.network.run("ip", "link", "add", "switch", "type", "bridge")
        self.network.run("ip", "link", "set", "switch", "up")

    def plug_control_plane(self, network):
        """Connects the control plane by an unshaped link, and gives it the addresses of the
        Services.
        """
        self._plug("control-plane", network, CONTROL_PLANE)
        for service in [API_SERVER, DNS]:
            network.run("ip", "address", "add", f"{service}/32", "dev", "lo")
        self._route_to_pods(network, own=None)

    def plug_node(self, number, network):
        """Connects a node by its shaped link."""
        port = f"node{number}"
        self._plug(port, network, addresses(number))
        network.run("ip", "route", "add", SERVICES[0], "via", CONTROL_PLANE[0])
        self._route_to_pods(network, own=number)
        network.run("tc", "qdisc", "add", "dev", "eth0", "root", *bucket(link(number).egress))
        self.network.run("tc", "qdisc", "add", "dev", port, "root", *bucket(link(number).ingress))

    def unplug(self, number):
        """Disconnects a node abruptly.

        It deletes the port instead of setting it down: cut connections keep the namespace of a dead
        node for minutes, and would keep the name of the port in use.
        """
        self.network.run("ip", "link", "delete", f"node{number}")

    def _plug(self, port, network, own):
        """Connects a network, which has the addresses `own`, to the switch."""
        peer = ["peer", "name", "eth0", "netns", str(network.holder.pid)]
        self.network.run("ip", "link", "add", port, "type", "veth", *peer)
        self.network.run("ip", "link", "set", port, "master", "switch", "up")
        network.run("ip", "link", "set", "lo", "up")
        for address, prefix in zip(own, PREFIXES, strict=True):
            # The address is unique, so IPv6 need not check for duplicates.
            network.run("ip", "address", "add", f"{address}/{prefix}", "dev", "eth0", "nodad")
        network.run("ip", "link", "set", "eth0", "up")

    def _route_to_pods(self, network, own):
        """Adds routes to the pods of all possible nodes, so that a new node changes nothing on the
        others.
        """
        for number in range(1, LARGEST + 1):
            if number != own:
                for block, address in zip(pods(number), addresses(number), strict=True):
                    network.run("ip", "route", "add", block, "via", address)


def bucket(rate):
    """Returns the options of a token bucket with `rate` Mbit/s.

    The burst makes up for a scheduler that is 2.5 ms late. The latency lets packets wait long
    enough for TCP to fill the link.
    """
    return [
        "tbf",
        "rate",
        f"{rate}mbit",
        "burst",
        str(rate * 1_000_000 // 8 // 400),
        "latency",
        "50ms",
    ]
