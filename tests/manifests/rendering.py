"""Renders the base, every overlay, and every component on the base, and reads the objects back.

Judges nothing except that kustomize can build them.
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
# Closed pods on the host network make no sense: this component stands on another.
NEEDS = {"network-policy": ["pod-network"]}


def kubectls():
    """The pinned kubectl, and the machine's own where there is one: two versions of kustomize."""
    pinned = str(Path(sys.executable).parent / "kubectl")
    path = os.pathsep.join(one for one in os.get_exec_path() if Path(one) != Path(pinned).parent)
    own = shutil.which("kubectl", path=path)
    if not own:
        print("kustomize: one version only, since this machine has no kubectl of its own")
    return [pinned, *([own] if own else [])]


def build(kubectl, directory):
    """The objects of a kustomization."""
    command = [kubectl, "kustomize", str(directory)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{directory} does not build with {kubectl}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def build_component(kubectl, component):
    """The objects of a component on the base."""
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


def render(kubectl):
    """All there is to apply, by its name."""
    overlays = {"manifests": BASE} | {
        f"overlays/{path.name}": path for path in sorted((ROOT / "kustomize/overlays").iterdir())
    }
    components = sorted((ROOT / "kustomize/components").iterdir())
    return {name: build(kubectl, path) for name, path in overlays.items()} | {
        f"components/{path.name}": build_component(kubectl, path) for path in components
    }


def sources():
    """Every YAML file as it is written."""
    return sorted([*BASE.glob("*.yaml"), *(ROOT / "kustomize").rglob("*.yaml")])
