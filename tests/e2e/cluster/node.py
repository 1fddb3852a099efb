"""A node: containerd and kubelet on their own machine, whose power can be cut."""

import json
import os
import shutil

from . import control_group, images, network, programs
from .machine import Machine, Process, check
from .waiting import until

# Kernel settings that kubelet would change on the whole computer. Files with these values, mounted
# over the real ones, prevent that.
KERNEL = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}

# Some paths are built into the programs, so the node has its own: an empty /run and /var/log, and a
# copy-on-write /var/lib.
SETUP = """
directory=$1 name=$2; shift 2
mount -t tmpfs run /run
mount --bind "$directory/log" /var/log
mount -t overlay -o "lowerdir=/var/lib,upperdir=$directory/lib,workdir=$directory/work" lib /var/lib
(cd "$directory/kernel" && find . -type f) | while read -r file; do
    mount --bind "$directory/kernel/$file" "/proc/sys/$file"
done
hostname "$name"
touch "$directory/ready"
exec "$@"
"""

CONTAINERD = """
version = 2
root = "{directory}/containerd"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Otherwise no pod starts if root may not lower the score, as in most containers.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{directory}/network"
"""

SOCKET = "unix:///run/containerd/containerd.sock"


class Node:
    """One node; it joins the cluster by itself after it is connected and started."""

    def __init__(self, number, directory, logs):
        self.name = f"node{number}"
        self.number = number
        self.directory = directory
        self.logs = logs
        self.control_group = f"{directory.parent.name}-{self.name}"
        self.machine = None
        self.processes = []

    def power_on(self):
        """Creates the machine, without a link and without programs."""
        control_group.make(self.control_group)
        for part in ["log", "lib", "work", "network", "kubelet"]:
            (self.directory / part).mkdir(parents=True)
        for key, value in KERNEL.items():
            file = self.directory / "kernel" / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")
        setup = ["sh", "-euc", SETUP, "setup", str(self.directory), self.name]
        self.machine = Machine(setup, ready=self.directory / "ready")

    def start(self, kubeconfig):
        """Starts containerd and kubelet."""
        self._start_containerd()
        pause = self.directory / "pause.tar"
        images.write_pause(programs.path("pause"), pause)
        self.load_image(pause)
        self._start_kubelet(kubeconfig)

    def load_image(self, tar):
        """Imports an image into the node's containerd."""
        self._ctr("--namespace", "k8s.io", "images", "import", tar)

    def kill(self):
        """Ends the node like a power cut, and removes its files."""
        if self.machine:
            self.machine.end()
        for process in self.processes:
            process.wait()
        control_group.remove(self.control_group)
        shutil.rmtree(self.directory)

    def _start_containerd(self):
        config = self.directory / "containerd.toml"
        plugins = programs.unpacked("containernetworking-plugins")
        config.write_text(
            CONTAINERD.format(directory=self.directory, pause=images.PAUSE, plugins=plugins)
        )
        self._write_network()
        self._process(programs.unpacked("containerd") / "containerd", "--config", config)
        until(f"containerd of {self.name} is ready", self._is_containerd_ready, 30)

    def _write_network(self):
        """Configures a bridge for the pod network. Even if all pods use the host network, a node
        needs it to be ready.
        """
        (self.directory / "network" / "pods.conflist").write_text(
            json.dumps(
                {
                    "cniVersion": "1.0.0",
                    "name": "pods",
                    "plugins": [
                        {
                            "type": "bridge",
                            "bridge": "pods",
                            "isGateway": True,
                            "ipam": {
                                "type": "host-local",
                                "ranges": [
                                    [{"subnet": block}] for block in network.pods(self.number)
                                ],
                                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                            },
                        }
                    ],
                }
            )
        )

    def _start_kubelet(self, kubeconfig):
        config = self.directory / "kubelet.json"
        config.write_text(
            json.dumps(
                {
                    "apiVersion": "kubelet.config.k8s.io/v1beta1",
                    "kind": "KubeletConfiguration",
                    "containerRuntimeEndpoint": SOCKET,
                    # It cannot be reached from outside of these namespaces.
                    "authentication": {
                        "anonymous": {"enabled": True},
                        "webhook": {"enabled": False},
                    },
                    "authorization": {"mode": "AlwaysAllow"},
                    "cgroupDriver": "cgroupfs",
                    "cgroupRoot": f"/{self.control_group}",
                    "enforceNodeAllocatable": [],
                    "failSwapOn": False,
                    "clusterDNS": [network.DNS],
                    "clusterDomain": "cluster.local",
                    "resolvConf": "",
                    "podLogsDir": str(self.logs / f"{self.name}-pods"),
                    # All nodes share this computer's disk, so its state says nothing about the
                    # node.
                    "evictionHard": {
                        "memory.available": "0%",
                        "nodefs.available": "0%",
                        "imagefs.available": "0%",
                    },
                    "imageGCHighThresholdPercent": 100,
                }
            )
        )
        self._process(
            programs.path("kubelet"),
            "--config",
            config,
            "--kubeconfig",
            kubeconfig,
            "--root-dir",
            self.directory / "kubelet",
            "--cert-dir",
            self.directory / "kubelet" / "pki",
            "--hostname-override",
            self.name,
            "--node-ip",
            ",".join(network.addresses(self.number)),
        )

    def _is_containerd_ready(self):
        self.processes[0].check()
        try:
            return self._ctr("version")
        except RuntimeError:
            return False

    def _ctr(self, *arguments):
        return check(
            *self.machine.on_machine(), programs.unpacked("containerd") / "ctr", *arguments
        )

    def _process(self, program, *arguments):
        log = self.logs / f"{self.name}-{program.name}.log"
        # containerd searches its shim and runc on the PATH.
        tools = [str(programs.unpacked(package)) for package in ["containerd", "runc"]]
        environment = os.environ | {"PATH": ":".join([*tools, os.environ["PATH"]])}
        self.processes.append(
            Process(log, self.machine.on_machine(), program, *arguments, env=environment)
        )
