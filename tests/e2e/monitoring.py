"""The monitoring of kube-prometheus: the real operator turns this repository's monitors and rules
into a configuration, with which a real Prometheus runs.

Both run as processes rather than pods, so that no registry is needed. Prometheus has exactly the
rights of its ServiceAccount in kube-prometheus. The test changes the operator's configuration in
two places only: the directory of the rules, and the values that a sidecar would fill in.
"""

import base64
import gzip
import json
import os
import socket
import subprocess
import urllib.parse

from cluster import programs
from cluster.machine import Process
from cluster.waiting import until
from report import Failure

NAMESPACE = "monitoring"
# The directory of the rules in the pods of Prometheus.
RULES = "/etc/prometheus/rules/prometheus-k8s-rulefiles-0"
# The values that the sidecar fills in, for the first of one shard.
SIDECAR = {"$(POD_NAME)": "prometheus-k8s-0", "$(SHARD)": "0"}


def objects(server, directory):
    """Returns the objects of kube-prometheus that monitors need; outside of a pod, the API server
    must be named.
    """
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "prometheus-k8s", "namespace": NAMESPACE},
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "Prometheus",
            "metadata": {"name": "k8s", "namespace": NAMESPACE},
            "spec": {
                "replicas": 0,
                "serviceAccountName": "prometheus-k8s",
                "evaluationInterval": "5s",
                "podMonitorSelector": {},
                "podMonitorNamespaceSelector": {},
                "serviceMonitorSelector": {},
                "serviceMonitorNamespaceSelector": {},
                "ruleSelector": {},
                "ruleNamespaceSelector": {},
                "apiserverConfig": {
                    "host": server,
                    "authorization": {"type": "Bearer", "credentialsFile": f"{directory}/token"},
                    "tlsConfig": {"caFile": f"{directory}/ca.crt"},
                },
            },
        },
    ]


class Monitoring:
    """The operator and Prometheus; they run until `stop`."""

    def __init__(self, cluster, kubectl, directory):
        self.cluster = cluster
        self.kubectl = kubectl
        self.directory = directory
        self.processes = []

    def start_operator(self):
        """Starts the operator, and creates the Prometheus object that it configures."""
        self.directory.mkdir()
        (cluster,) = self.kubectl.config()["clusters"]
        authority = base64.b64decode(cluster["cluster"]["certificate-authority-data"])
        (self.directory / "ca.crt").write_bytes(authority)
        self.kubectl.apply(*objects(self.cluster.api_server(), self.directory))
        token = self.kubectl(
            "create", "token", "prometheus-k8s", "-n", NAMESPACE, "--duration", "24h"
        )
        (self.directory / "token").write_text(token)
        self.start("operator", [], "--web.listen-address=127.0.0.1:0")

    def configuration(self):
        """Returns the configuration that the operator created from the monitors, empty before."""
        secret = self.kubectl.get("secret", "prometheus-k8s", "-n", NAMESPACE)
        return (
            gzip.decompress(base64.b64decode(secret["data"]["prometheus.yaml.gz"])).decode()
            if secret
            else ""
        )

    def rules(self):
        """Returns the rules that the operator created, by file name; empty before that."""
        files = self.kubectl.get("configmap", "prometheus-k8s-rulefiles-0", "-n", NAMESPACE)
        return files.get("data", {}) if files else {}

    def start_prometheus(self):
        """Starts Prometheus with the operator's configuration."""
        rules = self.directory / "rules"
        rules.mkdir()
        for name, text in self.rules().items():
            (rules / name).write_text(text)
        configuration = self.configuration()
        for place, value in {RULES: str(rules), **SIDECAR}.items():
            configuration = configuration.replace(place, value)
        file = self.directory / "prometheus.yaml"
        file.write_text(configuration)
        prefix, address = self.cluster.inside("control-plane"), f"127.0.0.1:{free_port()}"
        process = self.start(
            "prometheus",
            prefix,
            f"--config.file={file}",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address={address}",
        )
        prometheus = Prometheus(prefix, address)
        until("Prometheus is ready", lambda: process.check() or prometheus.is_ready(), 30)
        return prometheus

    def start(self, program, prefix, *arguments):
        environment = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig)}
        log = self.cluster.logs / f"{program}.log"
        self.processes.append(
            Process(log, prefix, programs.path(program), *arguments, env=environment)
        )
        return self.processes[-1]

    def stop(self):
        for process in self.processes:
            process.kill()


def free_port():
    """Returns a port that is free on this machine, and therefore most likely in its network
    namespaces.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Prometheus:
    """A client for its HTTP API, in the network that it runs in."""

    def __init__(self, prefix, address):
        self.prefix = prefix
        self.address = address

    def get(self, path, **parameters):
        """Returns the data of an answer."""
        output = self.fetch(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}").stdout
        try:
            answer = json.loads(output)
        except ValueError:
            raise Failure(f"Prometheus does not answer with JSON: {output}") from None
        if "error" in answer:
            raise Failure(f"Prometheus refuses {parameters}: {answer['error']}")
        return answer["data"]

    def is_ready(self):
        return self.fetch("/-/ready", "--fail").returncode == 0

    def fetch(self, path, *options):
        command = [
            *self.prefix,
            "curl",
            "--silent",
            "--max-time",
            "20",
            *options,
            f"http://{self.address}{path}",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def query(self, expression):
        """Returns the current series of an expression, as (labels, value)."""
        found = self.get("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]
