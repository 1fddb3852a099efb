"""An existing cluster, for example one made with kind. The cases cannot stop its API server or its
nodes.
"""

import shutil
import socket
from pathlib import Path

import mesh
import monitoring
from kubectl import Kubectl
from report import Failure, Skipped

# The namespaces that the cases create.
NAMESPACES = [mesh.NAMESPACE, monitoring.NAMESPACE]


class ExistingCluster:
    """Has the interface of `cluster.Cluster`. Methods that it cannot provide raise `Skipped`."""

    def __init__(self, kubeconfig, logs):
        self.kubeconfig = Path(kubeconfig)
        self.logs = Path(logs)
        self.kubectl = Kubectl("kubectl", kubeconfig)

    def __enter__(self):
        if not shutil.which("kubectl"):
            raise Failure(
                "kubectl is not installed: put a version that fits the cluster on the PATH"
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        for namespace in NAMESPACES:
            if self.kubectl.get("namespace", namespace):
                raise Failure(
                    f"the cluster of {self.kubeconfig} already has a namespace {namespace}: "
                    "use a cluster that is for tests only"
                )
        return self

    def __exit__(self, *_):
        """Restores the cluster's state, except for the operator's resource definitions."""
        self.kubectl("delete", "namespace", "--ignore-not-found", *NAMESPACES)

    def nodes(self):
        return [node["metadata"]["name"] for node in self.kubectl.get("nodes")["items"]]

    def inside(self, _where):
        """Prometheus runs on this machine, which must therefore reach the nodes."""
        return []

    def api_server(self):
        (cluster,) = self.kubectl.config()["clusters"]
        return cluster["cluster"]["server"]

    def reach(self, address, port):
        """Prometheus runs on this machine, which may have no route to pods, or be blocked by a
        NetworkPolicy.
        """
        try:
            socket.create_connection((address, port), timeout=5).close()
        except OSError as error:
            raise Skipped(
                f"pods that this machine can reach: port {port} of {address}: {error}"
            ) from None

    def rate(self, _source, _destination):
        raise Skipped("links of known speed")

    def stop_api(self):
        raise Skipped("an API server that the test can stop")

    def add_node(self, _name):
        raise Skipped("a way to add a node")

    def kill_node(self, _name):
        raise Skipped("a way to switch off a node")
