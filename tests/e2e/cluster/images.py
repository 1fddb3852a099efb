"""Creates the image of the pause container, which a node needs before it can start a pod."""

import hashlib
import io
import json
import platform
import tarfile

PAUSE = "localhost/pause:e2e"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_pause(program, target):
    """Writes an image with a single program, in the format of `docker save`."""
    layer = archive({"pause": program.read_bytes()}, mode=0o755)
    config = json.dumps(
        {
            "os": "linux",
            "architecture": ARCHITECTURES[platform.machine()],
            "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
        }
    )
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}])
    files = {"layer.tar": layer, "config.json": config.encode(), "manifest.json": manifest.encode()}
    target.write_bytes(archive(files, mode=0o644))


def archive(files, mode):
    """Returns a tar archive of `files`, which map names to contents."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()
