"""The real kubectl, on one cluster. What it says in case of an error becomes the failure of a case."""

import json
import os
import subprocess

from report import Failure

PATIENCE = 60


class Kubectl:
    def __init__(self, kubeconfig):
        self.environment = os.environ | {"KUBECONFIG": str(kubeconfig)}

    def run(self, *arguments, stdin=None, within=PATIENCE):
        """The finished process, however it ended."""
        return subprocess.run(
            ["kubectl", *map(str, arguments)],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=within,
        )

    def __call__(self, *arguments, stdin=None, within=PATIENCE):
        """What it prints."""
        try:
            done = self.run(*arguments, stdin=stdin, within=within)
        except subprocess.TimeoutExpired:
            raise Failure(f"kubectl {' '.join(map(str, arguments))} took more than {within} s") from None
        if done.returncode:
            raise Failure(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments):
        """Objects as they are in the API."""
        return json.loads(self("get", "-o", "json", *arguments))

    def apply(self, *objects):
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
