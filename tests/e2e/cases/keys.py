"""The key of the mesh: the agents wait for it, it changes without a pause, and its Secret is lost."""

import base64
import json
import os

from cluster.waiting import until
from mesh import NAMESPACE, summary
from report import expect
from waiting import Stopwatch

SECRET = "iperf3-mesh-key"
# The kubelet shows a changed Secret to the pods within a minute and a half, and an agent reads it
# every 10 s.
SEEN = 150


def missing(bench):
    """Waits until all agents say that they have no key."""
    words = "/etc/iperf3-mesh/keys does not exist"
    for node in bench.nodes:
        until(f"{node} says that it has no key", lambda node=node: words in log(bench, node), 60)
    until("the agents count as alive", lambda: all(one["started"] for one in states(bench)), 60)
    ready = [one for one in states(bench) if one["ready"]]
    expect(not ready, f"agents without a key are ready: {ready}")


def states(bench):
    """Returns the states of all agents, as the kubelets see them."""
    pods = bench.pods().values()
    return [one for pod in pods for one in pod["status"]["containerStatuses"]]


def log(bench, node):
    """Returns the log of the agent on `node`, which may not have started yet."""
    pod = bench.pods().get(node)
    name = pod and pod["metadata"]["name"]
    return bench.kubectl.run("logs", "-n", NAMESPACE, name).stdout if name else ""


def put(bench, *lines):
    """Makes or replaces the Secret, with the command of docs/install.md."""
    create = ["create", "secret", "generic", SECRET, "-n", NAMESPACE, "--from-file=keys=/dev/stdin"]
    keys = "".join(line + "\n" for line in lines)
    secret = bench.kubectl(*create, "--dry-run=client", "-o", "json", stdin=keys)
    bench.kubectl.apply(json.loads(secret))


def line(name):
    return f"{name}:member:{base64.b64encode(os.urandom(32)).decode()}"


def present(bench):
    """Returns the lines of the Secret."""
    secret = bench.kubectl.get("secret", SECRET, "-n", NAMESPACE)
    return base64.b64decode(secret["data"]["keys"]).decode().splitlines()


def used(bench):
    """Returns, for each key, the members to which each of the agents sends with it, sorted."""
    found = {}
    for labels, members in bench.prometheus.query("iperf_mesh_key_in_use"):
        found.setdefault(labels["id"], []).append(int(members))
    return {name: sorted(members) for name, members in found.items()}


def rotate(bench):
    """Another key, then without the old one: no cell fails"""
    old, new = present(bench)[0], line("new")
    stopwatch, count = Stopwatch(), len(bench.nodes)
    put(bench, new, old)
    everybody, nobody = [count - 1] * count, [0] * count
    wanted = {"new": everybody, old.split(":")[0]: nobody}
    until("everybody sends with the new key", lambda: used(bench) == wanted, SEEN)
    bench.note(f"everybody sends with the new key after {stopwatch}")
    put(bench, new)
    until("nobody has the old key", lambda: used(bench) == {"new": everybody}, SEEN)
    bench.note(f"the old key is gone after {stopwatch}")
    bench.until_full(since=stopwatch.date)
    failures = bench.mesh.failures(stopwatch)
    expect(not failures, f"cells failed meanwhile: {summary(failures)}")


def lose(bench):
    """The Secret is deleted and put back: the agents say so, and no cell fails"""
    keys, stopwatch = present(bench), Stopwatch()
    bench.kubectl("delete", "secret", SECRET, "-n", NAMESPACE)
    lost = 'iperf_mesh_key_problem{reason="missing"} == 1'
    until(
        "all agents miss the key", lambda: set(bench.mesh.by_node(lost)) == set(bench.nodes), SEEN
    )
    bench.note(f"all agents miss the key after {stopwatch}")
    bench.until_full(since=stopwatch.date + stopwatch.seconds)
    put(bench, *keys)
    until("no agent misses the key", lambda: not bench.mesh.by_node(lost), SEEN)
    bench.roll_out()
    bench.note(f"all agents are ready again after {stopwatch}")
    failures = bench.mesh.failures(stopwatch)
    expect(not failures, f"cells failed meanwhile: {summary(failures)}")
