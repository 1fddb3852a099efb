#!/bin/sh
# Prints the path of a Python that has what the tests of manifests and image are written with. It is made when it is
# missing, from PyPI into a directory below target/; needs python3 with venv.
set -eu
cd "$(dirname "$0")/.."
requirements=tests/manifests/requirements.txt
venv=$(realpath -m "${CARGO_TARGET_DIR:-target}")/manifests/venv

# What is pinned, and for which Python, tells whether the environment is still the right one.
wanted="$(python3 --version) $(cksum <$requirements)"
if [ "$(cat "$venv/made-for" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python3" -m pip install -q --disable-pip-version-check -r $requirements >&2
    echo "$wanted" >"$venv/made-for"
fi
echo "$venv/bin/python3"
