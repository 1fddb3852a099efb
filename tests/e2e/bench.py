"""Everything that the cases share: the cluster, the clients for it, and the report."""

from dataclasses import dataclass

from cluster.waiting import until
from kubectl import Kubectl
from mesh import NAMESPACE, QUIET, Mesh
from monitoring import Monitoring
from overlay import Overlays
from report import Failure, Report


@dataclass
class Bench:
    cluster: object
    kubectl: Kubectl
    overlays: Overlays
    monitoring: Monitoring
    report: Report
    prometheus: object = None

    @property
    def nodes(self):
        return self.cluster.nodes()

    @property
    def mesh(self):
        if self.prometheus is None:
            raise Failure("Prometheus is not running")
        return Mesh(self.prometheus)

    def note(self, text):
        self.report.note(text)

    def apply(self, overlay, *components, **settings):
        """Applies an overlay; returns the warnings of the API server."""
        written = self.overlays.write(overlay, *components, **settings)
        done = self.kubectl.run("apply", "-k", written)
        if done.returncode:
            raise Failure(f"kubectl apply -k {overlay}: {done.stderr.strip()}")
        return [line for line in done.stderr.splitlines() if line.startswith("Warning")]

    def roll_out(self):
        """Waits until all pods run the applied version."""
        self.kubectl(
            "rollout", "status", "daemonset/iperf3-mesh", "-n", NAMESPACE, "--timeout=300s"
        )

    def pods(self):
        """Returns the agents' pods by node."""
        pods = self.kubectl.get(
            "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=iperf3-mesh"
        )["items"]
        return {pod["spec"].get("nodeName"): pod for pod in pods}

    def until_full(self, since=0):
        """Waits for a full matrix that is newer than `since` (Unix time).

        An agent that has just started is in its quiet time, and may have missed the beginning of a
        sweep.
        """
        self.mesh.until_full(self.nodes, QUIET + 180, since)

    def until_swept(self, nodes, begun, what):
        """Waits until `nodes` have completed a whole sweep; `begun` has the sweeps in which they
        began.
        """
        until(what, lambda: self.mesh.is_swept(nodes, begun), 5 * self.mesh.period() + QUIET)

    def log(self, node, stopwatch):
        """Returns the log of the agent on `node` since `stopwatch` started, including its previous
        container.
        """
        pod = self.pods()[node]["metadata"]["name"]
        since = f"--since={stopwatch.seconds + 1:.0f}s"
        before = self.kubectl.run("logs", "-n", NAMESPACE, pod, since, "--previous")
        return before.stdout * (not before.returncode) + self.kubectl(
            "logs", "-n", NAMESPACE, pod, since
        )
