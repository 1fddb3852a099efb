#!/bin/sh
# Renews fuzz/corpora from fuzz/corpus, after a run of scripts/fuzz.sh: for each target, the fewest
# small inputs that reach all that was reached.
set -eu
cd "$(dirname "$0")/.."
mkdir -p fuzz/corpora
fewest=$(mktemp -d)
trap 'rm -rf "$fewest"' EXIT
for corpus in fuzz/corpus/*; do
    target=${corpus##*/}
    mkdir "$fewest/$target"
    cargo +nightly fuzz run "$target" "$fewest/$target" "$corpus" -- -merge=1 -max_len=2048 2>/dev/null
    tar --sort=name --mtime=@0 --owner=0 --group=0 -C "$fewest/$target" -czf "fuzz/corpora/$target.tar.gz" .
    echo "$target: $(find "$fewest/$target" -type f | wc -l) inputs"
done
