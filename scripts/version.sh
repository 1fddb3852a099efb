#!/bin/sh
# Prints the version in Cargo.toml. Everything else follows from it or is checked against it.
set -eu
cd "$(dirname "$0")/.."
sed -n '/^\[workspace\.package\]/,/^\[workspace\.d/s/^version = "\(.*\)"$/\1/p' Cargo.toml
