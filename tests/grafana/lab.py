#!/usr/bin/env python3
"""A small mesh in trouble, for pictures: lab.py AGENT COMMAND... runs COMMAND while a Prometheus holds its figures.

Six agents with links of different rates. After some good sweeps two ways begin to lose packets, and later one of them is
shut, so that a picture shows before and after. It makes network namespaces and mounts over /run, and so runs in namespaces
of its own only, as process 1; whoever is not root adds --user --map-root-user:

    unshare --net --mount --pid --fork --kill-child --mount-proc tests/grafana/lab.py target/debug/iperf3-mesh COMMAND

COMMAND finds PROMETHEUS (its URL), SECONDS_BACK (how long this has run) and LAB (what is wrong, JSON) in its environment.
All that this starts ends with it.
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

# The links' rates in Mbit/s: little enough for two cores, and different enough to be told apart by colour.
RATES = {"worker-1": 200, "worker-2": 200, "worker-3": 200, "worker-4": 200, "worker-5": 100, "worker-6": 50}
SHUT = ("worker-3", "worker-5")
LOSSY = ("worker-2", "worker-4")
# Small packets are the talk of iperf3 with itself, without which there is no test at all.
LOSS = "meta length > 200 numgen random mod 1000 < 20"
SETTINGS = ["--protocol=both", "--duration=1s", "--timeout=3s", "--interval=5s", "--udp-bitrate=10M", "--skip-quiet-time"]
SWITCH = "198.18.0.254"
PORT = 9876
PATIENCE = 180
# For COMMAND.
MOST_SECONDS = 900


def run(command, **more):
    subprocess.run(command.split(), check=True, **more)


def refuse_to_spoil():
    """A network with an interface that is up, or processes that were there before, are somebody else's."""
    up = subprocess.run(["ip", "-o", "link", "show", "up"], check=True, capture_output=True).stdout
    if os.getpid() != 1 or up:
        sys.exit(f"lab: this would mount over /run and change the network of this machine: run it as {__file__} tells")


def address(node):
    return f"198.18.0.{list(RATES).index(node) + 1}"


def wire():
    """A switch in the namespace where this runs, and a namespace with a shaped link for each node."""
    # Namespaces are kept below /run, where only root may write; over it, whoever may mount.
    run("mount -t tmpfs tmpfs /run")
    Path("/run/netns").mkdir()
    run("ip link set lo up")
    run("ip link add br0 type bridge")
    run("ip link set br0 up")
    run(f"ip addr add {SWITCH}/15 dev br0")
    for node, mbps in RATES.items():
        port = f"to-{node}"
        bucket = f"tbf rate {mbps}mbit burst {max(mbps * 1_000_000 // 8 // 400, 16 * 1024)} latency 50ms"
        run(f"ip netns add {node}")
        run(f"ip link add {port} type veth peer name eth0 netns {node}")
        run(f"ip link set {port} master br0 up")
        run(f"tc qdisc replace dev {port} root {bucket}")
        run(f"ip -n {node} addr add {address(node)}/15 dev eth0")
        run(f"ip -n {node} link set eth0 up")
        run(f"ip -n {node} link set lo up")
        run(f"tc -n {node} qdisc replace dev eth0 root {bucket}")


def drop(source, destination, which):
    """The destination drops what the source's iperf3 sends it, if it is like that."""
    rules = f"""
        add table ip trouble
        add chain ip trouble input {{ type filter hook input priority 0; }}
        add rule ip trouble input ip saddr {address(source)} meta l4proto {{ tcp, udp }} th dport 5201-5208 {which} drop
        """
    run(f"ip netns exec {destination} nft -f -", input=rules, text=True)


def start_agent(binary, node, log):
    command = ["ip", "netns", "exec", node, binary, "agent", f"--node-name={node}", "--discovery=static"]
    command += [f"--advertise-address={address(node)}", f"--join={address(next(iter(RATES)))}", *SETTINGS]
    return subprocess.Popen(command, stdout=log, stderr=log)


def wait_until(prometheus, expression, count, what):
    deadline = time.monotonic() + PATIENCE
    while not prometheus.has(expression, count):
        if time.monotonic() > deadline:
            sys.exit(f"lab: not within {PATIENCE} s: {what}")
        time.sleep(0.5)


def sweep(prometheus, number):
    wait_until(prometheus, f"min(iperf_mesh_sweep) >= {number}", 1, f"sweep {number}")


def live(prometheus):
    """Three good sweeps, three with losses, three with a way shut."""
    cells = len(RATES) * (len(RATES) - 1) * 2
    wait_until(prometheus, "iperf_test_success == 1", cells, "a matrix without failures")
    sweep(prometheus, 4)
    drop(*LOSSY, LOSS)
    drop(*SHUT, LOSS)
    sweep(prometheus, 7)
    drop(*SHUT, "")
    wait_until(prometheus, "iperf_test_success == 0", 2, "both protocols of the way that is shut failing")
    sweep(prometheus, 10)


def main():
    binary, *command = sys.argv[1:]
    refuse_to_spoil()
    wire()
    processes = []
    # Like all else, what is on the new /run ends with the namespaces.
    with tempfile.TemporaryDirectory(dir="/run") as scratch, Path(scratch, "agents.log").open("w") as log:
        began = time.time()
        try:
            processes += [start_agent(binary, node, log) for node in RATES]
            prometheus = Prometheus([f"{address(node)}:{PORT}" for node in RATES], scratch)
            processes.append(prometheus.process)
            live(prometheus)
            done = subprocess.run(
                command,
                check=False,
                timeout=MOST_SECONDS,
                env=os.environ
                | {
                    "PROMETHEUS": f"http://{prometheus.address}",
                    "SECONDS_BACK": str(int(time.time() - began)),
                    "LAB": json.dumps({"nodes": list(RATES), "shut": SHUT, "lossy": LOSSY}),
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
