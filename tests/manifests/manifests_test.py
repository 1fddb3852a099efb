#!/usr/bin/env python3
"""Checks all manifests against schemas, each other, and the agent (the binary $1)."""

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

import contract
import keys
import kustomize
import loopback
import owner
import release
import validators
from report import Report

PATIENCE = 30
# The exit code of the agent for invalid options.
INVALID_OPTIONS = 2
# The paths that probes and Prometheus request.
PATHS = {"/healthz", "/readyz", "/metrics"}


@dataclass
class Agent:
    """The properties of the real program."""

    binary: str
    ports: dict
    iperf_ports: range
    paths: set
    # Every variable with its default.
    variables: dict

    def refusals(self, settings):
        """Yields the program's error message if it refuses the settings; ignores the state of this
        machine.
        """
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        # This machine has neither the addresses of a pod nor its peers.
        replaced = {
            "MESH_ADVERTISE_ADDRESS": "127.0.0.1,::1",
            "MESH_DISCOVERY": "static",
            "MESH_JOIN": "",
        }
        environment = inherited | settings | replaced
        command = [self.binary, "check"]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        if done.returncode == INVALID_OPTIONS:
            yield f"the agent refuses the settings: {' '.join(done.stderr.split())}"


def inspect_agent(binary, settings):
    usage = subprocess.run(
        [binary, "agent", "--help"], check=True, capture_output=True, text=True
    ).stdout
    variables = dict(
        re.findall(r"\[env:\s+([A-Z0-9_]+)=[^]]*\](?:\s+\[default:\s+([^]]+)\])?", usage)
    )
    ports = {
        "metrics": int(variables["LISTEN_PORT"]),
        "gossip": int(variables["MESH_GOSSIP_PORT"]),
        "control": int(variables["MESH_CONTROL_PORT"]),
    }
    first = int(variables["IPERF_SERVER_PORT"])
    iperf_ports = range(first, first + int(variables["IPERF_SERVER_PORTS"]))
    return Agent(
        binary, ports, iperf_ports, answered_paths(binary, settings, ports["metrics"]), variables
    )


def answered_paths(binary, settings, port):
    """Starts an agent with the settings of the ConfigMap, and requests each of the paths."""
    address = loopback.address(7)
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as scratch:
        own = {
            "SOURCE_NODE_NAME": "node",
            "MESH_ADVERTISE_ADDRESS": address,
            "MESH_DISCOVERY": "static",
            "MESH_KEY_FILE": keys.write(scratch),
        }
        agent = subprocess.Popen(
            [binary, "agent"], env=os.environ | settings | own, stdout=log, stderr=log
        )
        try:
            paths = {path for path in PATHS if answers(agent, f"http://{address}:{port}{path}")}
        finally:
            agent.terminate()
            agent.wait(timeout=20)
        if paths != PATHS:
            log.seek(0)
            print(f"the agent answers only {sorted(paths)}; its log:", log.read(), sep="\n")
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


def broken_variants(objects):
    """Yields copies with one mistake each, and a part of the message that must report it.

    An API server, or nothing at all, would detect these mistakes otherwise.
    """

    def change(mistake, message, edit):
        changed = copy.deepcopy(objects)
        edit({one["kind"]: one for one in changed})
        return mistake, message, changed

    def typo(kinds):
        context = validators.container([kinds["DaemonSet"]])["securityContext"]
        context["readOnlyRootFileSystem"] = context["readOnlyRootFilesystem"]

    def variable(name, value):
        added = {"name": name, "value": value}
        return lambda kinds: validators.container([kinds["DaemonSet"]])["env"].append(added)

    def in_pod_monitor(**fields):
        return lambda kinds: kinds["PodMonitor"]["spec"]["podMetricsEndpoints"][0].update(fields)

    yield change("a typo in a field", "readOnlyRootFileSystem", typo)
    yield change("a typo in a monitor", "unknown field", in_pod_monitor(scrapeTimeOut="30s"))
    yield change(
        "a wrong port name",
        "the port http-metrics, which does not exist",
        in_pod_monitor(port="http-metrics"),
    )
    yield change(
        "a selector that matches nothing",
        "the Service selects no pod",
        lambda kinds: kinds["Service"]["spec"].update(selector={"app": "iperf3-server"}),
    )
    yield change(
        "a probe of a path that does not exist",
        "the livenessProbe requests /health ",
        lambda kinds: validators.container([kinds["DaemonSet"]])["livenessProbe"]["httpGet"].update(
            path="/health"
        ),
    )
    yield change("another key file", "the key file is /keys", variable("MESH_KEY_FILE", "/keys"))
    yield change(
        "a key that everybody may read",
        "the Secret of the key",
        lambda kinds: validators.pod_spec([kinds["DaemonSet"]])["volumes"][0]["secret"].pop(
            "defaultMode"
        ),
    )
    yield change("a misspelt variable", "no variable MESH_JION", variable("MESH_JION", "a"))
    yield change(
        "a value that the agent refuses", "IPERF_TEST_TIMEOUT", variable("IPERF_TEST_TIMEOUT", "2s")
    )
    yield change(
        "a RoleBinding for another ServiceAccount",
        "do not match",
        lambda kinds: kinds["RoleBinding"]["subjects"][0].update(name="default"),
    )


def unknown_metrics():
    """Returns the metrics in rules or dashboards that no agent exports and no rule records."""
    golden = (kustomize.ROOT / "agent/tests/golden/metrics.txt").read_text()
    rules = (
        kustomize.ROOT / "kustomize/components/prometheus-rule/prometheus-rule.yaml"
    ).read_text()
    known = set(re.findall(r"^(iperf_\w+)", golden, re.MULTILINE)) | set(
        re.findall(r"record: (\S+)", rules)
    )
    dashboards = (kustomize.ROOT / "kustomize/components/grafana-dashboard").glob("*.json")
    texts = [re.sub(r"(?m)^\s*#.*$", "", rules), *(file.read_text() for file in dashboards)]
    used = {name for text in texts for name in re.findall(r"\b(?:iperf_\w+|iperf3_mesh:\w+)", text)}
    return sorted(used - known)


def rights(built):
    """Checks which roles there are, and whether the pods get a token."""
    wanted = {
        "manifests": ({"Role", "RoleBinding"}, True),
        "components/no-rbac": (set(), False),
        "components/cluster-rbac": ({"ClusterRole", "ClusterRoleBinding"}, True),
    }
    for name, expected in wanted.items():
        roles = {one["kind"] for one in built[name] if "Role" in one["kind"]}
        found = (roles, validators.pod_spec(built[name])["automountServiceAccountToken"])
        if found != expected:
            yield f"{name} has {found}, not {expected}"


def main():
    report = Report()
    pinned, *others = kustomize.kubectls()
    built = kustomize.build_all(pinned)
    for other in others:
        rebuilt = kustomize.build_all(other)
        report.check(other, [name for name in built if rebuilt[name] != built[name]])
    base = built["manifests"]
    agent = inspect_agent(sys.argv[1], validators.settings(base))
    for name, objects in built.items():
        report.check(name, validators.problems(objects, agent))
    for mistake, message, objects in broken_variants(built["overlays/prometheus-operator"]):
        found = next((one for one in validators.problems(objects, agent) if message in one), None)
        report.check(mistake, [] if found else ["is not detected"])
        print(f"  {mistake} is detected: {found}")
    report.check("compatibility", [*contract.settings(agent.variables), *contract.undocumented()])
    report.check("rights", rights(built))
    report.check("version", release.tag_problems(built))
    report.check("files of a release", release.file_problems(pinned, agent))
    report.check("change of the version", release.version_change_problems(pinned))
    report.check("change of the owner", owner.problems())
    report.check("metrics", (f"{name} is not exported" for name in unknown_metrics()))
    for file in kustomize.sources():
        has_header = file.read_text().startswith("# ")
        report.check(file.name, [] if has_header else ["has no comment that explains its purpose"])
    report.end("manifests")


if __name__ == "__main__":
    main()
