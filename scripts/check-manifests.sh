#!/bin/sh
# Checks everything that is applied to clusters: manifests, alerts and dashboards, against the agent given as argument.
# Needs python3 with venv, promtool and prometheus; the rest is installed from PyPI below target/.
#
#   scripts/check-manifests.sh target/debug/iperf3-mesh
set -eu
agent=$(realpath "$1")
cd "$(dirname "$0")/.."
tests=tests/manifests
scratch=${CARGO_TARGET_DIR:-target}/manifests
mkdir -p "$scratch"
export PYTHONDONTWRITEBYTECODE=1

python=$(scripts/python.sh)

# A PrometheusRule contains the file that promtool reads, indented by two columns.
sed '1,/^spec:/d; s/^  //' kustomize/components/prometheus-rule/prometheus-rule.yaml >"$scratch/rules.yaml"

failed=0
promtool check rules "$scratch/rules.yaml" || failed=1
"$python" $tests/rules_test.py "$scratch/rules.yaml" || failed=1
"$python" $tests/manifests_test.py "$agent" || failed=1
"$python" $tests/parameters_test.py || failed=1
"$python" $tests/families_test.py "$agent" || failed=1
"$python" $tests/dashboards_test.py "$agent" || failed=1
exit $failed
