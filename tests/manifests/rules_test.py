#!/usr/bin/env python3
"""Tests the alerts with promtool: generates unit tests for small meshes, and runs them on the rules
file $1.

Every check lists all alerts that fire, so that a second alert for the same cause fails it. The
tests are generated because promtool's YAML has no loops: a mesh of four nodes has 24 series.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import agents_cases
import everyday_cases
import network_cases
import yaml

RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"


def untested(alerts, tests):
    """Finds alerts that fire in no test."""
    fired = set(re.findall(r'alertname=\\"(\w+)', json.dumps(tests)))
    return [f"{name} fires in no test" for name in alerts if name not in fired]


def undocumented(alerts):
    """Finds alerts without a section in the runbook, or without a link to it."""
    runbook = RUNBOOK.read_text()
    for name, alert in alerts.items():
        if not re.search(rf"(?m)^## {name}\n+\w", runbook):
            yield f"{RUNBOOK.name} has no section on {name}"
        if not alert["annotations"]["runbook_url"].endswith(f"/docs/runbook.md#{name.lower()}"):
            yield f"the runbook_url of {name} does not link to its section"
    for name in re.findall(r"(?m)^## (IperfMesh\w+)", runbook):
        if name not in alerts:
            yield f"{RUNBOOK.name} has a section on {name}, which is not an alert"


def main():
    rules = Path(sys.argv[1]).resolve()
    groups = yaml.safe_load(rules.read_text())["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    cases = [*network_cases.cases(), *agents_cases.cases(), *everyday_cases.cases()]
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": [check for check in checks if "expr" in check],
            "alert_rule_test": [check for check in checks if "alertname" in check],
        }
        for name, given, checks in cases
    ]
    unit = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(unit, file)
        file.flush()
        failed = subprocess.run(["promtool", "test", "rules", file.name], check=False).returncode
    problems = [*untested(alerts, tests), *undocumented(alerts)]
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"alerts: {len(alerts)} alerts, {len(tests)} cases {'failed' if failed else 'passed'}")
    sys.exit(bool(failed or problems))


if __name__ == "__main__":
    main()
