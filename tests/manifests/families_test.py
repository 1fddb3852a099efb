#!/usr/bin/env python3
"""Runs two agents (the binary $1) as pods of dual-stack nodes, with the settings of the base and of
the component ipv6.

Each agent gets both of its own addresses and both of the other's. They must measure each other over
the address family that the settings select.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import keys
import kustomize
import validators
from report import Report

PATIENCE = 90
# Settings for a quick test on a machine that certainly ran no agents before.
QUICK = {
    "IPERF_TEST_DURATION": "1s",
    "IPERF_TEST_INTERVAL": "1s",
    "IPERF_BITRATE": "100M",
    "MESH_SKIP_QUIET_TIME": "true",
    "MESH_DISCOVERY": "static",
}


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def ports(number):
    """Returns the ports of one agent. Both agents share an address, so their ports differ."""
    first = 20000 + os.getpid() % 1000 * 10 + number * 5
    names = ("LISTEN_PORT", "MESH_CONTROL_PORT", "MESH_GOSSIP_PORT", "IPERF_SERVER_PORT")
    return {name: str(first + offset) for offset, name in enumerate(names)} | {
        "IPERF_SERVER_PORTS": "1"
    }


def start(binary, settings, number, log):
    other = ports(1 - number)["MESH_GOSSIP_PORT"]
    pod = {
        "SOURCE_NODE_NAME": f"node{number}",
        "MESH_ADVERTISE_ADDRESS": "127.0.0.1,::1",
        "MESH_JOIN": f"127.0.0.1:{other},[::1]:{other}",
    }
    environment = os.environ | settings | QUICK | ports(number) | pod
    return subprocess.Popen([binary, "agent"], env=environment, stdout=log, stderr=log)


def stop(agent):
    agent.terminate()
    try:
        agent.wait(timeout=20)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait(timeout=20)


def wait_for_matrix(host, agents):
    """Waits until both cells are measured; returns the problem if they are not."""
    url = f"http://{host}:{ports(0)['LISTEN_PORT']}/api/v1/matrix"
    deadline = time.monotonic() + PATIENCE
    problem = "no answer"
    while problem and time.monotonic() < deadline and all(agent.poll() is None for agent in agents):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                cells = json.load(answer)["cells"]
            measured = [cell for cell in cells if cell["success"] and cell["bandwidth_mbps"] > 0]
            problem = None if len(measured) == 2 else f"{len(measured)} of 2 cells are measured"
        except OSError as error:
            problem = str(error)
        time.sleep(0.2)
    return problem


def problems(binary, settings, address):
    with tempfile.TemporaryDirectory() as scratch:
        settings = settings | {"MESH_KEY_FILE": keys.write(scratch)}
        logs = [Path(scratch, f"node{number}") for number in (0, 1)]
        with contextlib.ExitStack() as running:
            agents = []
            for number, log in enumerate(logs):
                agents.append(start(binary, settings, number, running.enter_context(log.open("w"))))
                running.callback(stop, agents[-1])
            problem = wait_for_matrix(f"[{address}]" if ":" in address else address, agents)
        for log in logs:
            if f'"address":"{address}"' not in log.read_text():
                problem = problem or f"{log.name} does not use {address}"
            if problem:
                yield f"{problem}; the log of {log.name}:\n{log.read_text()}"


def main():
    report, binary, kubectl = Report(), sys.argv[1], kustomize.kubectls()[0]
    base = validators.settings(kustomize.build(kubectl, kustomize.BASE))
    report.check("manifests", problems(binary, base, "127.0.0.1"))
    if has_ipv6():
        component = kustomize.build_component(kubectl, kustomize.ROOT / "kustomize/components/ipv6")
        report.check("components/ipv6", problems(binary, validators.settings(component), "::1"))
    else:
        print("families: skipping IPv6, because this machine has none")
    report.end("families")


if __name__ == "__main__":
    main()
