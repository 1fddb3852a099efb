"""Builds the base, every overlay, and every component on the base, and parses the objects.

It checks only that kustomize can build them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "manifests"
# Components that need another one: policies have no effect on pods in the host network.
NEEDS = {"network-policy": ["pod-network"]}


def kubectls():
    """Returns the pinned kubectl and the machine's own, if any: two versions of kustomize."""
    pinned = str(Path(sys.executable).parent / "kubectl")
    path = os.pathsep.join(one for one in os.get_exec_path() if Path(one) != Path(pinned).parent)
    own = shutil.which("kubectl", path=path)
    if not own:
        print("kustomize: testing one version only, because this machine has no kubectl of its own")
    return [pinned, *([own] if own else [])]


def build(kubectl, directory):
    """The objects of a kustomization."""
    command = [kubectl, "kustomize", str(directory)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{directory} does not build with {kubectl}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def build_component(kubectl, component):
    """Builds a component on the base."""
    with tempfile.TemporaryDirectory() as scratch:
        beside = component.parent
        components = [*(beside / name for name in NEEDS.get(component.name, [])), component]
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [relative(BASE, scratch)],
            "components": [relative(one, scratch) for one in components],
        }
        Path(scratch, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return build(kubectl, scratch)


def relative(path, start):
    return os.path.relpath(path.resolve(), Path(start).resolve())


def build_all(kubectl):
    """Returns the objects of everything that can be applied, by name."""
    overlays = {"manifests": BASE} | {
        f"overlays/{path.name}": path for path in sorted((ROOT / "kustomize/overlays").iterdir())
    }
    components = sorted((ROOT / "kustomize/components").iterdir())
    return {name: build(kubectl, path) for name, path in overlays.items()} | {
        f"components/{path.name}": build_component(kubectl, path) for path in components
    }


def sources():
    """Returns the paths of all YAML files."""
    return sorted([*BASE.glob("*.yaml"), *(ROOT / "kustomize").rglob("*.yaml")])
