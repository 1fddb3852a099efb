"""Creates the files of a release, as its workflow does, and checks them; changes the version in a
copy of the tree.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import kustomize
import validators
import yaml

DIGEST = "sha256:" + 8 * "01234567"


def run(kubectl, *command, check=True):
    """Runs a command with `kubectl` first on the PATH; returns its output and its success."""
    path = f"{Path(kubectl).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    if check and done.returncode:
        raise SystemExit(f"{command}: {done.stderr.strip()}")
    return done.stdout.strip(), done.returncode == 0


def version():
    return run("kubectl", kustomize.ROOT / "scripts/version.sh")[0]


def image_name():
    """Returns the name of the image without a tag."""
    return run("kubectl", kustomize.ROOT / "scripts/image-name.sh")[0].rpartition(":")[0]


def images(objects):
    """Returns the images of the pods in a set of objects."""
    pod = validators.pod_spec(objects)
    return {one["image"] for one in [*pod["containers"], *pod.get("initContainers", [])]}


def tag_problems(built):
    """Checks that everything that can be applied uses the image of this version."""
    for name, objects in built.items():
        wrong = [one for one in images(objects) if not one.endswith(f"iperf3-mesh:{version()}")]
        yield from (f"{name} uses {one}, but the version is {version()}" for one in wrong)


def file_problems(kubectl, agent):
    """Checks that the files can be applied, that they pin the pushed image, and that the checksums
    are right.
    """
    script = kustomize.ROOT / "scripts/release-files.sh"
    with tempfile.TemporaryDirectory() as scratch:
        run(kubectl, script, DIGEST, scratch)
        for file in ["install.yaml", "install-prometheus-operator.yaml"]:
            objects = list(yaml.safe_load_all(Path(scratch, file).read_text()))
            yield from (f"{file}: {one}" for one in validators.problems(objects, agent))
            if images(objects) != {f"{image_name()}:{version()}@{DIGEST}"}:
                yield f"{file} uses {images(objects)}"
        sums = Path(scratch, "sha256sums").read_text()
        if sorted(line.split()[1] for line in sums.splitlines()) != sorted(
            {*os.listdir(scratch)} - {"sha256sums"}
        ):
            yield f"sha256sums does not list exactly the files: {sums}"
        yield from checksum_problems(kubectl, scratch)
        if run(kubectl, script, "latest", scratch, check=False)[1]:
            yield f"{script.name} accepts a tag as a digest"


def checksum_problems(kubectl, scratch):
    check = ["sh", "-c", f"cd {scratch} && sha256sum --check --quiet sha256sums"]
    if not run(kubectl, *check, check=False)[1]:
        yield "the checksums are wrong"
    Path(scratch, "install.yaml").write_text("")
    if run(kubectl, *check, check=False)[1]:
        yield "the checksums do not detect a changed file"


def version_change_problems(kubectl):
    """Checks that one command changes the version everywhere, and that only its tag may be
    released.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy")
        shutil.copytree(
            kustomize.ROOT, copy, ignore=shutil.ignore_patterns("target", ".git", "samples", "corpus", "corpora")
        )
        run(kubectl, copy / "scripts/set-version.sh", "9.8.7")
        for directory in ["manifests", "kustomize/components", "kustomize/overlays"]:
            for file in (copy / directory).rglob("*.yaml"):
                if version() in file.read_text():
                    yield f"{file.relative_to(copy)} still contains {version()}"
        tag = copy / "scripts/check-tag.sh"
        run(kubectl, "git", "init", "-q", copy)
        settings = "GIT_CONFIG_GLOBAL=/dev/null && git config user.name test && git config user.email test@example.com"
        commit = f"cd {copy} && export {settings} && git commit -q --allow-empty -m test"
        run(
            kubectl,
            "sh",
            "-c",
            f"{commit} && git update-ref refs/remotes/origin/main HEAD && git tag v9.8.7",
        )
        done = subprocess.run(
            [tag, "v9.8.7", image_name()], check=False, capture_output=True, text=True
        )
        if done.returncode:
            yield f"{tag.name} refuses v9.8.7: {done.stderr}"
        if run(kubectl, tag, f"v{version()}", image_name(), check=False)[1]:
            yield f"{tag.name} accepts the tag of another version"
        run(kubectl, "sh", "-c", f"{commit} && git tag --force v9.8.7")
        if run(kubectl, tag, "v9.8.7", image_name(), check=False)[1]:
            yield f"{tag.name} accepts a tag of a commit that was not merged"
