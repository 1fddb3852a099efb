#!/bin/sh
# Runs every fuzz target, or the one named as second argument, for a number of seconds each. Fails if
# a target finds an input that breaks it, after the others have run too.
# Needs the nightly toolchain, cargo-fuzz and a C++ compiler.
#
#   scripts/fuzz.sh 60
#   scripts/fuzz.sh 600 wire_message
#
# Inputs that reach new code are kept in fuzz/corpus and make the next run start further on; the first
# run starts with those in fuzz/corpora, which scripts/fuzz-corpora.sh renews. An input that breaks a
# target is left in fuzz/artifacts: fix the parser, and add the input to fuzz/seeds, which `make test`
# runs on the stable compiler.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
targets=${2:-$(sed -n 's/^name = "\([a-z]*_[a-z_]*\)"$/\1/p' fuzz/Cargo.toml)}

# The main workspace's versions of all crates; cargo only adds the few that libFuzzer needs.
cp Cargo.lock fuzz/Cargo.lock

failed=
for target in $targets; do
    echo "== $target"
    mkdir -p "fuzz/corpus/$target"
    tar -xzf "fuzz/corpora/$target.tar.gz" -C "fuzz/corpus/$target" --skip-old-files
    set -- "fuzz/corpus/$target" "fuzz/seeds/$target"
    # The real reports of iperf3 that the tests of the agent read are seeds, too.
    [ "$target" != iperf_report ] || set -- "$@" agent/tests/samples
    cargo +nightly fuzz run "$target" "$@" -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 ||
        failed="$failed $target"
done
[ -z "$failed" ] || { echo "fuzz: broken:$failed; the inputs are in fuzz/artifacts" >&2; exit 1; }
