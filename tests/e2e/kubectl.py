"""The real kubectl, on one cluster. What it says in case of an error becomes the failure of a case."""

import json
import os
import subprocess

from report import Failure

# More than any time-out that it is given.
PATIENCE = 330


class Kubectl:
    def __init__(self, program, kubeconfig):
        self.program = program
        self.environment = os.environ | {"KUBECONFIG": str(kubeconfig)}

    def run(self, *arguments, stdin=None):
        """The finished process, however it ended."""
        command = [self.program, *map(str, arguments)]
        try:
            return subprocess.run(
                command,
                env=self.environment,
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"kubectl {' '.join(map(str, arguments))} took more than {PATIENCE} s") from None

    def __call__(self, *arguments, stdin=None):
        """What it prints."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode:
            raise Failure(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments):
        """An object, or a list of them, as they are in the API; nothing if it is not there."""
        said = self("get", "-o", "json", "--ignore-not-found", "--request-timeout=30s", *arguments)
        return json.loads(said or "null")

    def apply(self, *objects):
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def config(self):
        """The kubeconfig, with all certificates in it."""
        return json.loads(self("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
