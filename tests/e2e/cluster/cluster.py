"""A whole Kubernetes cluster on this computer, in which a test can cause faults."""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from . import network, programs
from .control_plane import NODES, ControlPlane
from .node import Node

COUNT = 3


class Cluster:
    """Three nodes with links of known speed. Use it in a `with` statement, which removes all traces
    of it.

    Create it in the longest-lived thread: the kernel kills the cluster when that thread ends.
    """

    def __init__(self):
        programs.check_computer()
        programs.everything()
        self.directory = Path(tempfile.mkdtemp(prefix="iperf3-mesh-e2e-"))
        self.logs = Path(tempfile.mkdtemp(prefix="iperf3-mesh-e2e-logs-"))
        self.images = []
        self.running = {}
        self.switch = self.control_plane = self.undo = None

    def __enter__(self):
        with contextlib.ExitStack() as self.undo:
            self.undo.push(self._clean_up)
            self.switch = network.Switch()
            self.undo.callback(self.switch.network.end)
            self.control_plane = ControlPlane(self.directory, self.logs)
            self.undo.callback(self.control_plane.end)
            self.switch.plug_control_plane(self.control_plane.network)
            self.control_plane.start()
            for name in NODES[:COUNT]:
                self._start_node(name)
            for name in self.running:
                self._wait_for(name)
            self.undo = self.undo.pop_all()
        return self

    def __exit__(self, *failure):
        return self.undo.__exit__(*failure)

    @property
    def kubeconfig(self):
        """The administrator's kubeconfig."""
        return self.control_plane.kubeconfig

    def api_server(self):
        """Returns the address of the API server inside of the cluster's networks."""
        return f"https://{network.CONTROL_PLANE[0]}"

    def nodes(self):
        """Returns the names of the running nodes."""
        return list(self.running)

    def rate(self, source, destination):
        """Returns the capacity of the links from one node to another, in Mbit/s on the wire, with
        all headers.
        """
        return float(
            min(network.link(number(source)).egress, network.link(number(destination)).ingress)
        )

    def goodput(self, source, destination):
        """Returns what TCP can deliver at that rate: the payload's share of a full frame."""
        return self.rate(source, destination) * network.PAYLOAD

    def load_image(self, tar):
        """Loads an image on all nodes, including those that are added later."""
        # The nodes have other working directories, so the path must be absolute.
        tar = Path(tar).resolve()
        self.images.append(tar)
        for node in self.running.values():
            node.load_image(tar)

    def stop_api(self):
        """Kills the API server only."""
        self.control_plane.stop_api()

    def start_api(self):
        """Starts the API server again."""
        self.control_plane.start_api()

    def add_node(self, name):
        """Starts another node; returns when it is ready."""
        self._start_node(name)
        self._wait_for(name)

    def kill_node(self, name):
        """Cuts a node's power: first removes its link, then kills its processes."""
        self.switch.unplug(number(name))
        self._end_node(name)

    def reach(self, _address, _port):
        """Does nothing: the control plane has direct routes to all pods."""

    def inside(self, where):
        """Returns a command prefix that runs a command in the network of a node, or of
        "control-plane".
        """
        if where == "control-plane":
            return self.control_plane.network.inside()
        return self.running[where].machine.inside()

    def _start_node(self, name):
        node = Node(number(name), self.directory / name, self.logs)
        self.running[name] = node
        self.undo.callback(self._end_node, name)
        node.power_on()
        self.switch.plug_node(node.number, node.machine)
        node.start(self.control_plane.kubeconfig_of(f"system:node:{name}"))
        for tar in self.images:
            node.load_image(tar)

    def _end_node(self, name):
        if name in self.running:
            self.running.pop(name).kill()

    def _clean_up(self, kind, *_):
        """Removes all files; after a failure it keeps the logs and prints their directory."""
        shutil.rmtree(self.directory)
        if kind in (None, KeyboardInterrupt):
            shutil.rmtree(self.logs)
        else:
            print(f"e2e: the logs are in {self.logs}", file=sys.stderr)

    def _wait_for(self, name):
        self.control_plane.kubectl("wait", "--for=create", f"node/{name}", "--timeout=60s")
        self.control_plane.kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=60s")


def number(name):
    """Returns the number of a node."""
    if name not in NODES:
        raise ValueError(f"unknown node {name}; expected {NODES[0]} to {NODES[-1]}")
    return NODES.index(name) + 1
