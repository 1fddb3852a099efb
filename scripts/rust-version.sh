#!/bin/sh
# Prints the version of Rust that the image is built with. CI checks and tests with the same one.
set -eu
cd "$(dirname "$0")/.."
sed -n 's/^FROM rust:\([0-9.]*\)-.*/\1/p' Dockerfile
