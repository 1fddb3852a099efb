#!/usr/bin/env python3
"""A small faulty mesh for pictures: lab.py AGENT COMMAND... runs COMMAND while a Prometheus has its
metrics.

Six agents have links of different rates. After some good sweeps two paths begin to lose packets,
and later one of them is blocked, so that a picture shows before and after. The script creates
network namespaces and mounts over /run. It therefore runs only in its own namespaces, as process 1
(if you are not root, add --user --map-root-user):

    unshare --net --mount --pid --fork --kill-child --mount-proc tests/grafana/lab.py target/debug/iperf3-mesh COMMAND

The environment of COMMAND contains PROMETHEUS (a URL), SECONDS_BACK (how long the mesh has run) and
LAB (the faults, JSON). All processes end with this one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "manifests"))

from prometheus import Prometheus  # noqa: E402

# The links' rates in Mbit/s: low enough for two cores, and different enough to have different
# colours.
RATES = {
    "worker-1": 200,
    "worker-2": 200,
    "worker-3": 200,
    "worker-4": 200,
    "worker-5": 100,
    "worker-6": 50,
}
BLOCKED = ("worker-3", "worker-5")
LOSSY = ("worker-2", "worker-4")
# Only large packets: iperf3's control messages are small, and no test works without them.
LOSS = "meta length > 200 numgen random mod 1000 < 20"
SETTINGS = [
    "--protocol=both",
    "--duration=1s",
    "--timeout=3s",
    "--interval=5s",
    "--udp-bitrate=10M",
    "--skip-quiet-time",
]
SWITCH = "198.18.0.254"
PORT = 9876
PATIENCE = 180
# Time limit of COMMAND, in seconds.
COMMAND_TIMEOUT = 900


def run(command, **options):
    subprocess.run(command.split(), check=True, **options)


def check_isolation():
    """Exits if other processes or active interfaces show that these namespaces are not the lab's
    own.
    """
    up = subprocess.run(["ip", "-o", "link", "show", "up"], check=True, capture_output=True).stdout
    if os.getpid() != 1 or up:
        sys.exit(
            "lab: not in separate namespaces, so this would mount over /run and change this "
            "machine's network: "
            f"run the command at the top of {__file__}"
        )


def address(node):
    return f"198.18.0.{list(RATES).index(node) + 1}"


def create_network():
    """Creates a switch in this namespace, and a namespace with a shaped link for each node."""
    # ip keeps its namespaces below /run, where only root may write. A mount makes it writable.
    run("mount -t tmpfs tmpfs /run")
    Path("/run/netns").mkdir()
    run("ip link set lo up")
    run("ip link add br0 type bridge")
    run("ip link set br0 up")
    run(f"ip addr add {SWITCH}/15 dev br0")
    for node, mbps in RATES.items():
        port = f"to-{node}"
        bucket = (
            f"tbf rate {mbps}mbit burst {max(mbps * 1_000_000 // 8 // 400, 16 * 1024)} latency 50ms"
        )
        run(f"ip netns add {node}")
        run(f"ip link add {port} type veth peer name eth0 netns {node}")
        run(f"ip link set {port} master br0 up")
        run(f"tc qdisc replace dev {port} root {bucket}")
        run(f"ip -n {node} addr add {address(node)}/15 dev eth0")
        run(f"ip -n {node} link set eth0 up")
        run(f"ip -n {node} link set lo up")
        run(f"tc -n {node} qdisc replace dev eth0 root {bucket}")


def drop(source, destination, which):
    """Lets the destination drop the packets from the source's iperf3 that match."""
    rules = f"""
        add table ip trouble
        add chain ip trouble input {{ type filter hook input priority 0; }}
        add rule ip trouble input ip saddr {address(source)} meta l4proto {{ tcp, udp }} th dport 5201-5208 {which} drop
        """
    run(f"ip netns exec {destination} nft -f -", input=rules, text=True)


def start_agent(binary, node, log):
    command = [
        "ip",
        "netns",
        "exec",
        node,
        binary,
        "agent",
        "--insecure",
        f"--node-name={node}",
        "--discovery=static",
    ]
    command += [
        f"--advertise-address={address(node)}",
        f"--join={address(next(iter(RATES)))}",
        *SETTINGS,
    ]
    return subprocess.Popen(command, stdout=log, stderr=log)


def wait_until(prometheus, expression, count, what):
    deadline = time.monotonic() + PATIENCE
    while not prometheus.has(expression, count):
        if time.monotonic() > deadline:
            sys.exit(f"lab: not within {PATIENCE} s: {what}")
        time.sleep(0.5)


def sweep(prometheus, number):
    wait_until(prometheus, f"min(iperf_mesh_sweep) >= {number}", 1, f"sweep {number}")


def run_sweeps(prometheus):
    """Runs three good sweeps, three with losses, and three with a blocked path."""
    cells = len(RATES) * (len(RATES) - 1) * 2
    wait_until(prometheus, "iperf_test_success == 1", cells, "a matrix without failures")
    sweep(prometheus, 4)
    drop(*LOSSY, LOSS)
    drop(*BLOCKED, LOSS)
    sweep(prometheus, 7)
    drop(*BLOCKED, "")
    wait_until(prometheus, "iperf_test_success == 0", 2, "both protocols of the blocked path fail")
    sweep(prometheus, 10)


def main():
    binary, *command = sys.argv[1:]
    check_isolation()
    create_network()
    processes = []
    # The new /run disappears with the namespaces.
    with (
        tempfile.TemporaryDirectory(dir="/run") as scratch,
        Path(scratch, "agents.log").open("w") as log,
    ):
        began = time.time()
        try:
            processes += [start_agent(binary, node, log) for node in RATES]
            prometheus = Prometheus([f"{address(node)}:{PORT}" for node in RATES], scratch)
            processes.append(prometheus.process)
            run_sweeps(prometheus)
            done = subprocess.run(
                command,
                check=False,
                timeout=COMMAND_TIMEOUT,
                env=os.environ
                | {
                    "PROMETHEUS": f"http://{prometheus.address}",
                    "SECONDS_BACK": str(int(time.time() - began)),
                    "LAB": json.dumps({"nodes": list(RATES), "blocked": BLOCKED, "lossy": LOSSY}),
                },
            )
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(timeout=20)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
