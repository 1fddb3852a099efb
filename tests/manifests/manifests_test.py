#!/usr/bin/env python3
"""Checks everything that can be applied against schemas, against itself, and against the agent (the binary $1)."""

import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import example
import judging
import release
import rendering

PATIENCE = 30
# What probes and Prometheus ask for.
PATHS = {"/healthz", "/readyz", "/metrics"}


@dataclass
class Agent:
    """What the real program says and answers."""

    ports: dict
    iperf_ports: range
    paths: set
    variables: set


def option_default(usage, variable):
    return re.search(rf"\[env:\s+{variable}=[^]]*\]\s+\[default:\s+([^]]+)\]", usage)[1]


def ask_agent(binary, settings):
    usage = subprocess.run([binary, "agent", "--help"], check=True, capture_output=True, text=True).stdout

    def default(variable):
        return int(option_default(usage, variable))

    ports = {
        "metrics": default("LISTEN_PORT"),
        "gossip": default("MESH_GOSSIP_PORT"),
        "control": default("MESH_CONTROL_PORT"),
    }
    first = default("IPERF_SERVER_PORT")
    iperf_ports = range(first, first + default("IPERF_SERVER_PORTS"))
    variables = set(re.findall(r"\[env:\s+([A-Z0-9_]+)=", usage))
    return Agent(ports, iperf_ports, answered_paths(binary, settings, ports["metrics"]), variables)


def answered_paths(binary, settings, port):
    """Starts an agent with the settings of the ConfigMap, and asks it for each of the paths."""
    address = f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}.7"
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
    """The same with one mistake each, of those that an API server or nobody would tell of."""

    def change(mistake, edit):
        own = copy.deepcopy(objects)
        edit({one["kind"]: one for one in own})
        return mistake, own

    def typo(kinds):
        context = kinds["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
        context["readOnlyRootFileSystem"] = context["readOnlyRootFilesystem"]

    yield change("a typo in a field", typo)
    yield change(
        "a typo in a monitor",
        lambda kinds: kinds["PodMonitor"]["spec"]["podMetricsEndpoints"][0].update(scrapeTimeOut="30s"),
    )
    yield change(
        "a wrong port name",
        lambda kinds: kinds["PodMonitor"]["spec"]["podMetricsEndpoints"][0].update(port="http-metrics"),
    )
    yield change(
        "a selector that matches nothing",
        lambda kinds: kinds["Service"]["spec"].update(selector={"app": "iperf3-server"}),
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


class Report:
    passed = failed = 0

    def judge(self, what, found):
        found = list(found)
        if found:
            self.failed += 1
            print(*(f"{what}: {one}" for one in found), sep="\n")
        else:
            self.passed += 1


def kubectls():
    """The pinned kubectl, and the machine's own where there is one: two versions of kustomize."""
    pinned = str(Path(sys.executable).parent / "kubectl")
    path = os.pathsep.join(one for one in os.get_exec_path() if Path(one) != Path(pinned).parent)
    own = shutil.which("kubectl", path=path)
    return [pinned, *([own] if own else [])]


def main():
    report = Report()
    pinned, *others = kubectls()
    rendered = rendering.render(pinned)
    for other in others:
        again = rendering.render(other)
        report.judge(other, [name for name in rendered if again[name] != rendered[name]])
    base = rendered["manifests"]
    (config,) = judging.of_kind(base, "ConfigMap")
    agent = ask_agent(sys.argv[1], config["data"])
    for name, objects in rendered.items():
        report.judge(name, judging.complaints(objects, agent))
    for mistake, objects in broken(rendered["overlays/prometheus-operator"]):
        refused = any(judging.complaints(objects, agent))
        report.judge(mistake, [] if refused else ["is not noticed"])
    report.judge("the example's parameters", example.complaints(rendered["overlays/example"]))
    report.judge("rights", rights(rendered))
    report.judge("version", release.tag_complaints(rendered))
    report.judge("the files of a release", release.file_complaints(pinned, agent))
    report.judge("a change of the version", release.change_complaints(pinned))
    report.judge("metrics", (f"{name} is not exported" for name in unknown_metrics()))
    for file in rendering.sources():
        report.judge(file.name, [] if file.read_text().startswith("# ") else ["does not say why it exists"])
    print(f"manifests: {report.passed} passed, {report.failed} failed")
    sys.exit(report.failed > 0)


if __name__ == "__main__":
    main()
