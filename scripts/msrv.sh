#!/bin/sh
# Checks everything, tests included, and builds the agent with the oldest supported Rust: the
# rust-version of Cargo.toml, which rustup must have or be able to download.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
if ! rustc "+$version" --version >/dev/null 2>&1; then
    rustup toolchain install "$version" --profile minimal || {
        echo "msrv: Rust $version is not installed and rustup cannot download it" >&2
        exit 1
    }
fi
rustc "+$version" --version
cargo "+$version" check --locked --workspace --all-targets --all-features
cargo "+$version" build --locked -p iperf3-mesh
