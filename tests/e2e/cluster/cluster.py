"""A whole Kubernetes cluster on this computer, for a test to use and to hurt."""

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
    """Three nodes behind links of known speed; use it by `with`, and nothing is left of it afterwards.

    Must be made by the thread that lives longest: the kernel ends the cluster when that thread ends.
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
            self.undo.push(self._tidy)
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
        """The administrator's."""
        return self.control_plane.kubeconfig

    def api_server(self):
        """The address of the API server inside of the cluster's networks."""
        return f"https://{network.CONTROL_PLANE[0]}"

    def nodes(self):
        """The names of the running nodes."""
        return list(self.running)

    def rate(self, source, destination):
        """What the links let pass from one node to another, in Mbit/s on the wire, that is with all headers."""
        return float(min(network.link(number(source)).egress, network.link(number(destination)).ingress))

    def goodput(self, source, destination):
        """What TCP can deliver at that rate: the payload's part of each full frame."""
        return self.rate(source, destination) * network.PAYLOAD

    def load_image(self, tar):
        """Gives an image to all nodes, and to those that are added later."""
        # The nodes have other working directories.
        tar = Path(tar).resolve()
        self.images.append(tar)
        for node in self.running.values():
            node.load_image(tar)

    def stop_api(self):
        """Kills the API server, and only that."""
        self.control_plane.stop_api()

    def start_api(self):
        """Starts it again."""
        self.control_plane.start_api()

    def add_node(self, name):
        """Starts another node, and returns when it is ready."""
        self._start_node(name)
        self._wait_for(name)

    def kill_node(self, name):
        """Cuts a node's power: first nobody hears it any more, then it is no more."""
        self.switch.unplug(number(name))
        self._end_node(name)

    def reach(self, _address, _port):
        """There are routes from the control plane to all pods, and nothing is in between."""

    def inside(self, where):
        """What to put before a command so that it runs in the network of a node, or of "control-plane"."""
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

    def _tidy(self, kind, *_):
        """Removes what is left on the disk; after a failure the logs stay, and are named."""
        shutil.rmtree(self.directory)
        if kind in (None, KeyboardInterrupt):
            shutil.rmtree(self.logs)
        else:
            print(f"e2e: all logs are in {self.logs}", file=sys.stderr)

    def _wait_for(self, name):
        self.control_plane.kubectl("wait", "--for=create", f"node/{name}", "--timeout=60s")
        self.control_plane.kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=60s")


def number(name):
    """The number of a node."""
    if name not in NODES:
        raise ValueError(f"{name} is no name of a node here: {NODES[0]} to {NODES[-1]} are")
    return NODES.index(name) + 1
