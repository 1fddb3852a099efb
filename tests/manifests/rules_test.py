#!/usr/bin/env python3
"""Tests the alerts with promtool: writes its unit tests for small meshes, and runs them against the rules file $1.

Every check lists all that fires, so that a second alert for one cause fails it. The tests are written here rather than
in promtool's YAML, which has no loops: a mesh of four nodes is 24 series.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import agents_cases
import everyday_cases
import network_cases

RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"


def untested(alerts, tests):
    """Alerts that no test sees fire."""
    fired = set(re.findall(r'alertname=\\"(\w+)', json.dumps(tests)))
    return [f"no test sees {name} fire" for name in alerts if name not in fired]


def undocumented(alerts):
    """Alerts that do not lead to what to do about them."""
    runbook = RUNBOOK.read_text()
    for name, alert in alerts.items():
        if not re.search(rf"(?m)^## {name}\n+\w", runbook):
            yield f"{RUNBOOK.name} does not tell what to do about {name}"
        if not alert["annotations"]["runbook_url"].endswith(f"/docs/runbook.md#{name.lower()}"):
            yield f"the runbook_url of {name} leads elsewhere"
    for name in re.findall(r"(?m)^## (IperfMesh\w+)", runbook):
        if name not in alerts:
            yield f"{RUNBOOK.name} speaks of {name}, which is no alert"


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
    complaints = [*untested(alerts, tests), *undocumented(alerts)]
    print(*complaints, sep="\n", end="\n" if complaints else "")
    print(f"alerts: {len(alerts)} alerts, {len(tests)} cases {'failed' if failed else 'passed'}")
    sys.exit(bool(failed or complaints))


if __name__ == "__main__":
    main()
