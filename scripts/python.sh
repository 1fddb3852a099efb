#!/bin/sh
# Prints the path of a Python with the packages that the tests of manifests and image need. Creates it below target/
# from PyPI if it is missing; needs python3 with venv.
set -eu
cd "$(dirname "$0")/.."
requirements=tests/manifests/requirements.txt
venv=$(realpath -m "${CARGO_TARGET_DIR:-target}")/manifests/venv

# Create it again only when the pinned packages or the version of Python have changed.
wanted="$(python3 --version) $(cksum <$requirements)"
if [ "$(cat "$venv/made-for" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python3" -m pip install -q --disable-pip-version-check --require-hashes -r $requirements >&2
    echo "$wanted" >"$venv/made-for"
fi
echo "$venv/bin/python3"
