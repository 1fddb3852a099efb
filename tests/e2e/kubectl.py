"""The real kubectl, for one cluster. Its error messages become failures of a case."""

import json
import os
import subprocess

from report import Failure

# Longer than any timeout in a command.
PATIENCE = 330


class Kubectl:
    def __init__(self, program, kubeconfig):
        self.program = program
        self.environment = os.environ | {"KUBECONFIG": str(kubeconfig)}

    def run(self, *arguments, stdin=None):
        """Returns the finished process, whether it succeeded or not."""
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
            raise Failure(
                f"kubectl {' '.join(map(str, arguments))} took more than {PATIENCE} s"
            ) from None

    def __call__(self, *arguments, stdin=None):
        """Returns the output of a command that must succeed."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode:
            raise Failure(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments):
        """Returns an object or a list as in the API, or None if it does not exist."""
        output = self(
            "get", "-o", "json", "--ignore-not-found", "--request-timeout=30s", *arguments
        )
        return json.loads(output or "null")

    def apply(self, *objects):
        self(
            "apply",
            "-f",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        )

    def config(self):
        """Returns the kubeconfig with all certificates included."""
        return json.loads(self("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
