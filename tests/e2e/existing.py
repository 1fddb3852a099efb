"""A cluster that somebody else made, for example with kind: it takes all commands, but has no power switch."""

import shutil
import socket
from pathlib import Path

import mesh
import monitoring
from kubectl import Kubectl
from report import Failure, Skipped

# All that the cases put into it.
NAMESPACES = [mesh.NAMESPACE, monitoring.NAMESPACE]


class Existing:
    """Has the interface of `cluster.Cluster`. What it cannot do is skipped, with words."""

    def __init__(self, kubeconfig, logs):
        self.kubeconfig = Path(kubeconfig)
        self.logs = Path(logs)
        self.kubectl = Kubectl("kubectl", kubeconfig)

    def __enter__(self):
        if not shutil.which("kubectl"):
            raise Failure("kubectl is not installed: the cases need one that fits the cluster, on the PATH")
        self.logs.mkdir(parents=True, exist_ok=True)
        for namespace in NAMESPACES:
            if self.kubectl.get("namespace", namespace):
                raise Failure(
                    f"the cluster of {self.kubeconfig} has a namespace {namespace} already: "
                    "take a cluster that is for tests only"
                )
        return self

    def __exit__(self, *_):
        """Others made it; it is left as it was, but for the definitions of the operator's resources."""
        self.kubectl("delete", "namespace", "--ignore-not-found", *NAMESPACES)

    def nodes(self):
        return [node["metadata"]["name"] for node in self.kubectl.get("nodes")["items"]]

    def inside(self, _where):
        """Prometheus runs here, so this machine must reach the nodes."""
        return []

    def api_server(self):
        (cluster,) = self.kubectl.config()["clusters"]
        return cluster["cluster"]["server"]

    def reach(self, address, port):
        """Prometheus runs here: there may be no route to pods, or a policy that lets in only those of its namespace."""
        try:
            socket.create_connection((address, port), timeout=5).close()
        except OSError as error:
            raise Skipped(f"pods that answer this machine: port {port} of {address}: {error}") from None

    def rate(self, _source, _destination):
        raise Skipped("links of known speed")

    def stop_api(self):
        raise Skipped("an API server that can be stopped")

    def add_node(self, _name):
        raise Skipped("the power to add a node")

    def kill_node(self, _name):
        raise Skipped("the power to switch off a node")
