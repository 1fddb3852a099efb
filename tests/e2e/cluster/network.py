"""The cluster's network: one switch, a port for the control plane and one for each node, and how fast each of them is.

Everybody has an address of both families, from the ranges for benchmarks (RFC 2544 and RFC 5180), which no real network
uses; none of them can be seen from outside.

    198.18.0.1         2001:2::1            the control plane, with the API server and DNS, the only Services that work
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
# Of a frame of 14 + 1500 bytes, IPv4 takes 20 and TCP with its timestamps 32.
PAYLOAD = 1448 / 1514


@dataclass(frozen=True)
class Link:
    """How fast a node's port is, in Mbit/s on the wire."""

    egress: int
    ingress: int


# Chosen so that either end limits some of the pairs, and that a matrix with rows and columns exchanged is a wrong one.
LINKS = {1: Link(60, 120), 2: Link(140, 80), 3: Link(100, 40)}
LINK_OF_OTHERS = Link(70, 90)


def link(number):
    """The link of a node."""
    return LINKS.get(number, LINK_OF_OTHERS)


def addresses(number):
    """The addresses of a node."""
    return [node.format(10 + number) for node in NODE]


def pods(number):
    """The addresses of a node's pods."""
    return [block.format(10 + number) for block in PODS]


class Switch:
    """What all ports are plugged into."""

    def __init__(self):
        self.network = Network()
        self.network.run("ip", "link", "add", "switch", "type", "bridge")
        self.network.run("ip", "link", "set", "switch", "up")

    def plug_control_plane(self, network):
        """Connects the control plane, whose link is not shaped, and gives it the addresses of Services."""
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
        """Takes a node off the network without a word to anybody.

        Not by setting the port down: connections that were cut keep the namespace of a dead node, and so the port's
        name, for minutes.
        """
        self.network.run("ip", "link", "delete", f"node{number}")

    def _plug(self, port, network, own):
        """Joins a network to the switch by a cable, on whose other end it has its `own` addresses."""
        peer = ["peer", "name", "eth0", "netns", str(network.keeper.pid)]
        self.network.run("ip", "link", "add", port, "type", "veth", *peer)
        self.network.run("ip", "link", "set", port, "master", "switch", "up")
        network.run("ip", "link", "set", "lo", "up")
        for address, prefix in zip(own, PREFIXES, strict=True):
            # Nobody else can have the address: it need not be asked around for it first, as IPv6 does.
            network.run("ip", "address", "add", f"{address}/{prefix}", "dev", "eth0", "nodad")
        network.run("ip", "link", "set", "eth0", "up")

    def _route_to_pods(self, network, own):
        """Every node that there may ever be, so that a new one changes nothing on the others."""
        for number in range(1, LARGEST + 1):
            if number != own:
                for block, address in zip(pods(number), addresses(number), strict=True):
                    network.run("ip", "route", "add", block, "via", address)


def bucket(rate):
    """The token bucket of `rate` Mbit/s.

    It holds what a scheduler that is 2.5 ms late owes, and lets packets wait long enough for TCP to fill the link.
    """
    return ["tbf", "rate", f"{rate}mbit", "burst", str(rate * 1_000_000 // 8 // 400), "latency", "50ms"]
