"""The monitoring of kube-prometheus: the real operator makes Prometheus' configuration out of this repository's monitors
and rules, and a real Prometheus runs with it.

Both are processes rather than pods, since no registry is to be had. Prometheus has the rights of the ServiceAccount that
it has in kube-prometheus, and no others; of the operator's configuration nothing but the place of the rules is changed."""

import base64
import gzip
import json
import os
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from report import Failure
from waiting import until

NAMESPACE = "monitoring"
PORT = 9090
# Where the operator's pods have the rules.
RULES = "/etc/prometheus/rules/prometheus-k8s-rulefiles-0"


def objects(server, directory, version):
    """What kube-prometheus has, as far as it concerns monitors; the API server is told since there is no pod."""
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
                "version": version,
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
    """Operator and Prometheus, until `stop`."""

    def __init__(self, cluster, kubectl, directory):
        self.cluster = cluster
        self.kubectl = kubectl
        self.directory = Path(directory)
        self.processes = []

    def start_operator(self, program):
        """The operator works, and knows of a Prometheus that it is to configure."""
        self.directory.mkdir(parents=True, exist_ok=True)
        view = json.loads(self.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        (cluster,) = view["clusters"]
        authority = base64.b64decode(cluster["cluster"]["certificate-authority-data"])
        (self.directory / "ca.crt").write_bytes(authority)
        self.kubectl.apply(*objects(cluster["cluster"]["server"], self.directory, prometheus_version()))
        token = self.kubectl("create", "token", "prometheus-k8s", "-n", NAMESPACE, "--duration", "24h")
        (self.directory / "token").write_text(token)
        self.start("operator", program, "--web.listen-address=127.0.0.1:0")

    def configuration(self):
        """What the operator made of the monitors, or nothing yet."""
        found = self.kubectl.run("get", "secret", "prometheus-k8s", "-n", NAMESPACE, "-o", "json")
        if found.returncode:
            return None
        return gzip.decompress(base64.b64decode(json.loads(found.stdout)["data"]["prometheus.yaml.gz"])).decode()

    def rules(self):
        """What the operator made of the rules, by file name."""
        found = self.kubectl.run("get", "configmap", "prometheus-k8s-rulefiles-0", "-n", NAMESPACE, "-o", "json")
        return {} if found.returncode else json.loads(found.stdout).get("data", {})

    def start_prometheus(self):
        """Prometheus works with what the operator made."""
        rules = self.directory / "rules"
        rules.mkdir()
        for name, text in self.rules().items():
            (rules / name).write_text(text)
        file = self.directory / "prometheus.yaml"
        file.write_text(self.configuration().replace(RULES, str(rules)))
        self.start(
            "prometheus",
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address=:{PORT}",
        )
        prometheus = Prometheus(f"http://{self.cluster.address('control-plane')}:{PORT}")
        until("Prometheus answers", 30, prometheus.answers)
        return prometheus

    def start(self, name, *command):
        log = (self.cluster.logs / f"{name}.log").open("w")
        environment = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig)}
        command = [*self.cluster.inside("control-plane"), *map(str, command)]
        self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=30)


def prometheus_version():
    """As the operator wants it: v2.42.0 of Debian's 2.42.0+ds."""
    said = subprocess.run(["prometheus", "--version"], check=True, capture_output=True, text=True)
    return "v" + (said.stdout + said.stderr).split("version ")[1].split()[0].split("+")[0]


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Failure(f"Prometheus refuses {parameters}: {error.read().decode()}") from None

    def answers(self):
        try:
            return self.get("query", query="1")
        except OSError:
            return None

    def query(self, expression):
        """The series that an expression has now, as (labels, value)."""
        found = self.get("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]
