"""The control plane: etcd, API server, controller manager, scheduler and DNS, in their own network.

Clients of the API server authenticate with a token, and trust its self-signed certificate.
"""

import json
import secrets
import socket
import sys
from pathlib import Path

from . import network, programs
from .machine import Network, Process, check
from .waiting import until

ADMIN = "admin"
NODES = [f"node{number}" for number in range(1, network.LARGEST + 1)]
# Users and their groups, which determine their rights. Nodes can join only under these names.
USERS = {
    ADMIN: "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "coredns": "system:masters",
} | {f"system:node:{name}": "system:nodes" for name in NODES}

COREFILE = """\
.:53 {{
    errors
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
    }}
}}
"""


class ControlPlane:
    """The control plane of a cluster."""

    def __init__(self, directory, logs):
        """Creates only the network, so that it can be connected before any program starts in it."""
        self.directory = directory
        self.logs = logs
        self.network = Network()
        self.tokens = {user: secrets.token_hex() for user in USERS}
        self.services = []
        self.kubeconfig = directory / "admin.kubeconfig"
        self.api_server = None

    def start(self):
        """Starts all programs; returns when the API server answers."""
        self._write_secrets()
        self._service("etcd", "--data-dir", self.directory / "etcd", "--unsafe-no-fsync")
        self._start_relay()
        self.start_api()
        self._service(
            "kube-controller-manager",
            "--kubeconfig",
            self.kubeconfig_of("system:kube-controller-manager"),
            "--leader-elect=false",
            "--use-service-account-credentials",
            "--service-account-private-key-file",
            self.directory / "service-accounts.key",
            "--root-ca-file",
            self._certificate(),
            # Half of the default, to shorten the tests: the time until a silent node is not ready.
            "--node-monitor-grace-period=25s",
        )
        self._service(
            "kube-scheduler",
            "--kubeconfig",
            self.kubeconfig_of("system:kube-scheduler"),
            "--leader-elect=false",
        )
        corefile = self.directory / "Corefile"
        corefile.write_text(COREFILE.format(kubeconfig=self.kubeconfig_of("coredns")))
        self._service("coredns", "-conf", corefile)

    def start_api(self):
        """Starts the API server; returns when it answers."""
        key = self.directory / "service-accounts.key"
        self.api_server = self._process(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=443",
            f"--advertise-address={network.CONTROL_PLANE[0]}",
            f"--service-cluster-ip-range={','.join(network.SERVICES)}",
            "--cert-dir",
            self._certificate().parent,
            "--token-auth-file",
            self.directory / "tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--service-account-key-file",
            key,
            "--service-account-signing-key-file",
            key,
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            # Node names do not resolve.
            "--kubelet-preferred-address-types=InternalIP",
        )
        until("the API server is ready", self._is_api_ready, 90)

    def stop_api(self):
        """Kills the API server only."""
        self.api_server.kill()

    def kubectl(self, *arguments):
        """Runs kubectl as administrator."""
        return check(programs.path("kubectl"), "--kubeconfig", self.kubeconfig, *arguments)

    def kubeconfig_of(self, user):
        """Writes the kubeconfig with which a part of the cluster connects to the API server."""
        return self._write_kubeconfig(
            self.directory / f"{user.replace(':', '-')}.kubeconfig",
            user,
            f"https://{network.CONTROL_PLANE[0]}",
        )

    def end(self):
        """Kills all programs."""
        for service in [*self.services, self.api_server]:
            if service:
                service.kill()
        self.network.end()

    def _is_api_ready(self):
        for service in [*self.services, self.api_server]:
            service.check()
        try:
            return self.kubectl("get", "--raw=/readyz", "--request-timeout=5s")
        except RuntimeError:
            return False

    def _write_secrets(self):
        check(
            "openssl",
            "genpkey",
            "-quiet",
            "-algorithm",
            "rsa",
            "-out",
            self.directory / "service-accounts.key",
        )
        lines = [f'{self.tokens[user]},{user},{user},"{group}"\n' for user, group in USERS.items()]
        (self.directory / "tokens.csv").write_text("".join(lines))

    def _certificate(self):
        """Returns the file with the API server's certificate and its certificate authority."""
        return self.directory / "certificates" / "apiserver.crt"

    def _start_relay(self):
        """Makes the API server available outside of the network, on a free loopback port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            self.services.append(
                Process(
                    self.logs / "relay.log",
                    self.network.inside(),
                    sys.executable,
                    Path(__file__).with_name("relay.py"),
                    listener.fileno(),
                    network.CONTROL_PLANE[0],
                    443,
                    pass_fds=[listener.fileno()],
                )
            )
        self._write_kubeconfig(self.kubeconfig, ADMIN, f"https://127.0.0.1:{port}")

    def _write_kubeconfig(self, file, user, server):
        name = "e2e"
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": name,
                            "cluster": {
                                "server": server,
                                "certificate-authority": str(self._certificate()),
                                "tls-server-name": "kubernetes.default.svc",
                            },
                        }
                    ],
                    "users": [{"name": name, "user": {"token": self.tokens[user]}}],
                    "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
                    "current-context": name,
                }
            )
        )
        return file

    def _service(self, program, *arguments):
        self.services.append(self._process(program, *arguments))

    def _process(self, program, *arguments):
        return Process(
            self.logs / f"{program}.log", self.network.inside(), programs.path(program), *arguments
        )
