"""Makes the files of a release, as its workflow does, and judges them; and changes the version in a copy of it all."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import judging
import rendering
import yaml

DIGEST = "sha256:" + 8 * "01234567"


def run(kubectl, *command, check=True):
    """Runs a command with that kubectl in front; returns what it printed and whether it succeeded."""
    path = f"{Path(kubectl).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PATH": path})
    if check and done.returncode:
        raise SystemExit(f"{command}: {done.stderr.strip()}")
    return done.stdout.strip(), done.returncode == 0


def version():
    return run("kubectl", rendering.ROOT / "scripts/version.sh")[0]


def image_name():
    """The image's, without a tag."""
    return run("kubectl", rendering.ROOT / "scripts/image-name.sh")[0].rpartition(":")[0]


def images(objects):
    """Those that the pods of a set of objects ask for."""
    pod = judging.pod_spec(objects)
    return {one["image"] for one in [*pod["containers"], *pod.get("initContainers", [])]}


def tag_complaints(rendered):
    """Whatever is applied from here asks for the image of this version."""
    for name, objects in rendered.items():
        wrong = [one for one in images(objects) if not one.endswith(f"iperf3-mesh:{version()}")]
        yield from (f"{name} asks for {one}, the version is {version()}" for one in wrong)


def file_complaints(kubectl, agent):
    """The files to apply work, and pin the image that was pushed; what was downloaded can be checked."""
    script = rendering.ROOT / "scripts/release-files.sh"
    with tempfile.TemporaryDirectory() as scratch:
        run(kubectl, script, DIGEST, scratch)
        for file in ["install.yaml", "install-prometheus-operator.yaml"]:
            objects = list(yaml.safe_load_all(Path(scratch, file).read_text()))
            yield from (f"{file}: {one}" for one in judging.complaints(objects, agent))
            if images(objects) != {f"{image_name()}:{version()}@{DIGEST}"}:
                yield f"{file} asks for {images(objects)}"
        sums = Path(scratch, "sha256sums").read_text()
        if sorted(line.split()[1] for line in sums.splitlines()) != sorted({*os.listdir(scratch)} - {"sha256sums"}):
            yield f"sha256sums is not of all files: {sums}"
        yield from checksum_complaints(kubectl, scratch)
        if run(kubectl, script, "latest", scratch, check=False)[1]:
            yield "a tag is taken for a digest"


def checksum_complaints(kubectl, scratch):
    check = ["sh", "-c", f"cd {scratch} && sha256sum --check --quiet sha256sums"]
    if not run(kubectl, *check, check=False)[1]:
        yield "the checksums are wrong"
    Path(scratch, "install.yaml").write_text("")
    if run(kubectl, *check, check=False)[1]:
        yield "the checksums do not tell a changed file"


def change_complaints(kubectl):
    """One command changes the version everywhere; its tag then may become a release, and no other."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy")
        shutil.copytree(rendering.ROOT, copy, ignore=shutil.ignore_patterns("target", ".git", "samples"))
        run(kubectl, copy / "scripts/set-version.sh", "9.8.7")
        for directory in ["manifests", "kustomize/components", "kustomize/overlays"]:
            for file in (copy / directory).rglob("*.yaml"):
                if version() in file.read_text():
                    yield f"{file.relative_to(copy)} still names {version()}"
        tag = copy / "scripts/check-tag.sh"
        run(kubectl, "git", "init", "-q", copy)
        settings = "GIT_CONFIG_GLOBAL=/dev/null && git config user.name test && git config user.email test@example.com"
        commit = f"cd {copy} && export {settings} && git commit -q --allow-empty -m test"
        run(kubectl, "sh", "-c", f"{commit} && git update-ref refs/remotes/origin/main HEAD && git tag v9.8.7")
        said = subprocess.run([tag, "v9.8.7", image_name()], check=False, capture_output=True, text=True)
        if said.returncode:
            yield f"v9.8.7 is refused: {said.stderr}"
        if run(kubectl, tag, f"v{version()}", image_name(), check=False)[1]:
            yield "the tag of another version is taken"
        run(kubectl, "sh", "-c", f"{commit} && git tag --force v9.8.7")
        if run(kubectl, tag, "v9.8.7", image_name(), check=False)[1]:
            yield "the tag of a commit that was not merged is taken"
