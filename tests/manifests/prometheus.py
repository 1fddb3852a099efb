"""A real Prometheus for tests, which scrapes some agents every second."""

import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import loopback


class Prometheus:
    """A server on its own loopback address, on which the port is free."""

    def __init__(self, targets, scratch):
        self.address = f"{loopback.address(9)}:9090"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": "iperf3-mesh", "static_configs": [{"targets": targets}]}
            ],
        }
        file = Path(scratch, "prometheus.yml")
        file.write_text(json.dumps(config))
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={scratch}/data",
                f"--web.listen-address={self.address}",
                "--log.level=error",
            ]
        )

    def query(self, expression):
        """Returns the number of series in the answer; raises an error if the query is invalid."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(
            f"http://{self.address}/api/v1/query?{query}", timeout=10
        ) as answer:
            return len(json.load(answer)["data"]["result"])

    def has(self, expression, count):
        try:
            return self.query(expression) >= count
        except OSError:
            return False
