"""Writes overlays as a user would: an overlay of this repository with a few edits.

They change the image, and shorten tests, pauses and scrape intervals, so that a case takes minutes
rather than hours.
"""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGE = (
    subprocess.check_output([ROOT / "scripts/image-name.sh"], text=True, timeout=10)
    .strip()
    .rsplit(":", 1)[0]
)
SETTINGS = {"IPERF_TEST_DURATION": "2s", "IPERF_TEST_INTERVAL": "2s", "IPERF_TEST_PROTOCOL": "both"}
# The edit of the scrape interval from docs/install.md.
SCRAPING = [
    {"op": "replace", "path": "/spec/podMetricsEndpoints/0/interval", "value": "2s"},
    {"op": "replace", "path": "/spec/podMetricsEndpoints/0/scrapeTimeout", "value": "2s"},
]


class Overlays:
    """Overlays below `directory` that run `image`."""

    def __init__(self, directory, image):
        self.directory = Path(directory).resolve()
        self.name, self.tag = image.rsplit(":", 1)

    def write(self, overlay, *components, **settings):
        """Writes `overlay` with components and settings; returns the directory for `kubectl apply
        -k`.
        """
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [self.path(f"overlays/{overlay}")],
            "components": [self.path(f"components/{component}") for component in components],
            "images": [{"name": IMAGE, "newName": self.name, "newTag": self.tag}],
            "configMapGenerator": [
                {
                    "name": "iperf3-mesh",
                    "behavior": "merge",
                    "literals": [
                        f"{name}={value}" for name, value in (SETTINGS | settings).items()
                    ],
                }
            ],
            "patches": [
                {
                    "target": {"kind": "PodMonitor", "name": "iperf3-mesh"},
                    "patch": json.dumps(SCRAPING),
                }
            ],
        }
        written = self.directory / "-".join([overlay, *components, *settings])
        written.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        (written / "kustomization.yaml").write_text(json.dumps(kustomization, indent=2))
        return written

    def path(self, name):
        return os.path.relpath(ROOT / "kustomize" / name, self.directory / "overlay")
