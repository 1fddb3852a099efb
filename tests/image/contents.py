"""Checks the contents of the image, from a file of `docker save`. Each function yields problems as
text.
"""

import json
import re
import stat
import tarfile
from dataclasses import dataclass

# Twice the present size, so that a large increase does not go unnoticed.
BYTES_MAX = 50_000_000
AGENT = "usr/bin/iperf3-mesh"
PROGRAMS = {"usr/bin/iperf3", AGENT}
# Other files: libraries, the directory for iperf3's files, and the records of packages and
# licences.
EXPECTED = re.compile(
    r"(usr/)?lib(64)?/(.*/)?[^/]+\.so[.0-9]*|etc/(passwd|group|os-release)|tmp"
    r"|var/lib/dpkg/status\.d/[^/]+|usr/share/doc/[^/]+/copyright"
)
LABELS = ["title", "description", "source", "licenses", "version", "revision"]


@dataclass
class Image:
    """The configuration of the image, and its files by path."""

    config: dict
    files: dict
    agent: bytes


def read(path):
    """Reads an image with a single layer."""
    with tarfile.open(path) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(manifest["Config"]))["config"]
        (layer,) = manifest["Layers"]
        with tarfile.open(fileobj=archive.extractfile(layer)) as content:
            files = {one.name.removeprefix("./").rstrip("/"): one for one in content}
            agent = content.extractfile(files[AGENT]).read() if AGENT in files else b""
    return Image(config, files, agent)


def problems(image, version, user):
    yield from configuration(image.config, version, user)
    yield from files(image.files)
    yield from records(image)


def configuration(config, version, user):
    wanted = {"User": user, "Entrypoint": ["/usr/bin/iperf3-mesh"], "Cmd": ["agent"]}
    for key, value in wanted.items():
        if config[key] != value:
            yield f"{key} is {config[key]}, not {value}"
    labels = {name: config["Labels"].get(f"org.opencontainers.image.{name}", "") for name in LABELS}
    yield from (
        f"label {name} is empty" for name, value in labels.items() if value in ("", "unknown")
    )
    if labels["version"] != version:
        yield f"label version is {labels['version']}, not {version}"


def files(found):
    """Checks that there are no unexpected files, no setuid files, and no writable files."""
    for path, file in found.items():
        if file.isdir() and path != "tmp":
            expected = any(other.startswith(path) for other in found if not found[other].isdir())
        else:
            expected = path in PROGRAMS or EXPECTED.fullmatch(path)
        if not expected:
            yield f"/{path} is unexpected"
        if file.mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"/{path} is setuid or setgid"
        if (file.uid, file.gid) != (0, 0):
            yield f"/{path} belongs to {file.uid}:{file.gid}"
        if file.mode & stat.S_IWOTH and not file.issym() and path != "tmp":
            yield f"/{path} is world-writable"
    yield from (f"/{path} is missing" for path in PROGRAMS - set(found))
    size = sum(file.size for file in found.values())
    if size > BYTES_MAX:
        yield f"the image has {size / 1e6:.1f} MB, more than {BYTES_MAX / 1e6:.0f} MB"


def records(image):
    """Checks that a scanner finds the packages of the libraries and the crates of the agent."""
    for record in [
        "etc/os-release",
        *(f"var/lib/dpkg/status.d/{one}" for one in ["iperf3", "libc6", "libssl3t64"]),
    ]:
        if record not in image.files:
            yield f"/{record} is missing"
    if b".dep-v0" not in image.agent:
        yield "the agent has no list of its crates"
