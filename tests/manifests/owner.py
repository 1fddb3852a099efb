"""Checks that one command sets the GitHub owner in every image name and link, and that all of them agree."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import kustomize

SKIPPED = {".git", "target", "node_modules", "samples", "corpus", "corpora", "artifacts", "__pycache__"}
# The owner in an image name, a link, an argument of `gh`, and a team.
OWNER = re.compile(r"(?:ghcr\.io/|github\.com/|--repo )([\w-]+)/iperf3-mesh|@([\w-]+)/maintainers")


def of_image():
    """The owner in the image name of the manifests, from which scripts/set-owner.sh starts."""
    manifest = Path(kustomize.ROOT, "manifests/daemonset.yaml").read_text()
    return re.search(r"image: ghcr\.io/([\w-]+)/", manifest)[1]


def problems():
    yield from disagreements(kustomize.ROOT, of_image())
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy")
        shutil.copytree(kustomize.ROOT, copy, ignore=shutil.ignore_patterns(*SKIPPED))
        script = copy / "scripts/set-owner.sh"
        subprocess.run([script, "Acme"], check=True)
        yield from disagreements(copy, "acme")
        if subprocess.run([script, "not/an owner"], check=False, capture_output=True).returncode == 0:
            yield "set-owner.sh takes an owner with a slash"


def disagreements(root, owner):
    """The files that name another owner than this one, and the placeholder wherever it stands."""
    placeholder = "-".join(["my", "org"])
    for path, text in texts(root):
        found = {first or second for first, second in OWNER.findall(text)} - {owner, "OWNER"}
        yield from (f"{path} names the owner {one}, not {owner}" for one in sorted(found))
        if owner != placeholder and placeholder in text:
            yield f"{path} still names {placeholder}"


def texts(root):
    """The text files below `root`, with their relative paths."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not SKIPPED & set(relative.parts):
            try:
                yield relative, path.read_text()
            except UnicodeDecodeError:
                continue
