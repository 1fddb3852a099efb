#!/usr/bin/env python3
"""Checks everything that can be applied against schemas, against itself, and against the agent (the binary $1)."""

import copy
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import contract
import judging
import loopback
import release
import rendering
from report import Report

PATIENCE = 30
# The exit code of a program that cannot use its options.
UNUSABLE = 2
# What probes and Prometheus ask for.
PATHS = {"/healthz", "/readyz", "/metrics"}


@dataclass
class Agent:
    """What the real program says and answers."""

    binary: str
    ports: dict
    iperf_ports: range
    paths: set
    # Every variable, and its default.
    variables: dict

    def refusals(self, settings):
        """What the program does not like about these settings; what it finds on this machine does not matter."""
        around = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        # The addresses of a pod, and what is to be found there, are not to be had here.
        here = {"MESH_ADVERTISE_ADDRESS": "127.0.0.1,::1", "MESH_DISCOVERY": "static", "MESH_JOIN": ""}
        command = [self.binary, "check"]
        done = subprocess.run(command, check=False, env=around | settings | here, capture_output=True, text=True)
        if done.returncode == UNUSABLE:
            yield f"the settings are refused: {' '.join(done.stderr.split())}"


def ask_agent(binary, settings):
    usage = subprocess.run([binary, "agent", "--help"], check=True, capture_output=True, text=True).stdout
    variables = dict(re.findall(r"\[env:\s+([A-Z0-9_]+)=[^]]*\](?:\s+\[default:\s+([^]]+)\])?", usage))
    ports = {
        "metrics": int(variables["LISTEN_PORT"]),
        "gossip": int(variables["MESH_GOSSIP_PORT"]),
        "control": int(variables["MESH_CONTROL_PORT"]),
    }
    first = int(variables["IPERF_SERVER_PORT"])
    iperf_ports = range(first, first + int(variables["IPERF_SERVER_PORTS"]))
    return Agent(binary, ports, iperf_ports, answered_paths(binary, settings, ports["metrics"]), variables)


def answered_paths(binary, settings, port):
    """Starts an agent with the settings of the ConfigMap, and asks it for each of the paths."""
    address = loopback.own(7)
    own = {"SOURCE_NODE_NAME": "node", "MESH_ADVERTISE_ADDRESS": address, "MESH_DISCOVERY": "static"}
    with tempfile.TemporaryFile("w+") as log:
        agent = subprocess.Popen([binary, "agent"], env=os.environ | settings | own, stdout=log, stderr=log)
        try:
            paths = {path for path in PATHS if answers(agent, f"http://{address}:{port}{path}")}
        finally:
            agent.terminate()
            agent.wait(timeout=20)
        if paths != PATHS:
            log.seek(0)
            print(f"the agent answers {sorted(paths)} only, and says:", log.read(), sep="\n")
        return paths


def answers(agent, url):
    deadline = time.monotonic() + PATIENCE
    while agent.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            if error.code != 503:
                return False
        except OSError:
            pass
        time.sleep(0.1)
    return False


def broken(objects):
    """The same with one mistake each, of those that an API server or nobody would tell of, and what must be said."""

    def change(mistake, words, edit):
        own = copy.deepcopy(objects)
        edit({one["kind"]: one for one in own})
        return mistake, words, own

    def typo(kinds):
        context = judging.container([kinds["DaemonSet"]])["securityContext"]
        context["readOnlyRootFileSystem"] = context["readOnlyRootFilesystem"]

    def variable(name, value):
        added = {"name": name, "value": value}
        return lambda kinds: judging.container([kinds["DaemonSet"]])["env"].append(added)

    def in_pod_monitor(**fields):
        return lambda kinds: kinds["PodMonitor"]["spec"]["podMetricsEndpoints"][0].update(fields)

    yield change("a typo in a field", "readOnlyRootFileSystem", typo)
    yield change("a typo in a monitor", "unknown field", in_pod_monitor(scrapeTimeOut="30s"))
    yield change("a wrong port name", "the port http-metrics, which is missing", in_pod_monitor(port="http-metrics"))
    yield change(
        "a selector that matches nothing",
        "the Service selects no pod",
        lambda kinds: kinds["Service"]["spec"].update(selector={"app": "iperf3-server"}),
    )
    yield change(
        "a probe of a path that is not there",
        "the livenessProbe asks for /health ",
        lambda kinds: judging.container([kinds["DaemonSet"]])["livenessProbe"]["httpGet"].update(path="/health"),
    )
    yield change("a variable that is misspelt", "no variable MESH_JION", variable("MESH_JION", "a"))
    yield change("a value that the agent refuses", "IPERF_TEST_TIMEOUT", variable("IPERF_TEST_TIMEOUT", "2s"))
    yield change(
        "rights for somebody else",
        "do not go together",
        lambda kinds: kinds["RoleBinding"]["subjects"][0].update(name="default"),
    )


def unknown_metrics():
    """Metrics that rules or dashboards ask for, and that nobody exports or records."""
    golden = (rendering.ROOT / "agent/tests/golden/metrics.txt").read_text()
    rules = (rendering.ROOT / "kustomize/components/prometheus-rule/prometheus-rule.yaml").read_text()
    known = set(re.findall(r"^(iperf_\w+)", golden, re.MULTILINE)) | set(re.findall(r"record: (\S+)", rules))
    dashboards = (rendering.ROOT / "kustomize/components/grafana-dashboard").glob("*.json")
    texts = [re.sub(r"(?m)^\s*#.*$", "", rules), *(file.read_text() for file in dashboards)]
    used = {name for text in texts for name in re.findall(r"\b(?:iperf_\w+|iperf3_mesh:\w+)", text)}
    return sorted(used - known)


def rights(rendered):
    """Which roles there are, and whether the pods get a token."""
    wanted = {
        "manifests": ({"Role", "RoleBinding"}, True),
        "components/no-rbac": (set(), False),
        "components/cluster-rbac": ({"ClusterRole", "ClusterRoleBinding"}, True),
    }
    for name, right in wanted.items():
        roles = {one["kind"] for one in rendered[name] if "Role" in one["kind"]}
        found = (roles, judging.pod_spec(rendered[name])["automountServiceAccountToken"])
        if found != right:
            yield f"{name} has {found}, not {right}"


def main():
    report = Report()
    pinned, *others = rendering.kubectls()
    rendered = rendering.render(pinned)
    for other in others:
        again = rendering.render(other)
        report.judge(other, [name for name in rendered if again[name] != rendered[name]])
    base = rendered["manifests"]
    agent = ask_agent(sys.argv[1], judging.settings(base))
    for name, objects in rendered.items():
        report.judge(name, judging.complaints(objects, agent))
    for mistake, words, objects in broken(rendered["overlays/prometheus-operator"]):
        refusal = next((one for one in judging.complaints(objects, agent) if words in one), None)
        report.judge(mistake, [] if refusal else ["is not noticed"])
        print(f"  {mistake} is refused: {refusal}")
    report.judge("what others rely on", [*contract.settings(agent.variables), *contract.undocumented()])
    report.judge("rights", rights(rendered))
    report.judge("version", release.tag_complaints(rendered))
    report.judge("the files of a release", release.file_complaints(pinned, agent))
    report.judge("a change of the version", release.change_complaints(pinned))
    report.judge("metrics", (f"{name} is not exported" for name in unknown_metrics()))
    for file in rendering.sources():
        report.judge(file.name, [] if file.read_text().startswith("# ") else ["does not say why it exists"])
    report.end("manifests")


if __name__ == "__main__":
    main()
