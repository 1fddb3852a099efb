#!/bin/sh
# Makes vendor/chitchat from the published crate and vendor/chitchat.patch, or checks it.
#
#   scripts/vendor-chitchat.sh            make the folder again
#   scripts/vendor-chitchat.sh --check    fail if the folder is anything else than that
#   scripts/vendor-chitchat.sh --needed   fail if the newest published crate needs no patch any more
#
# The crate comes through cargo, which verifies its checksum. CARGO_NET_OFFLINE=true works if the crate
# is in cargo's cache.
set -eu
cd "$(dirname "$0")/.."
version=0.13.0
folder=$PWD/vendor/chitchat
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A package of its own, so that the patch of this workspace does not apply.
package() {
    mkdir -p "$work/src"
    printf '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[dependencies]\nchitchat = "%s"\n' \
        "$1" > "$work/Cargo.toml"
    printf '%s\n' "$2" > "$work/src/main.rs"
}

vendor() {
    package "=$version" 'fn main() {}'
    cargo fetch -q --manifest-path "$work/Cargo.toml"
    published=$(cargo metadata -q --format-version 1 --manifest-path "$work/Cargo.toml" |
        sed -n "s|.*\"manifest_path\":\"\([^\"]*/chitchat-$version\)/Cargo.toml\".*|\1|p")
    mkdir "$work/chitchat"
    cp -r "$published/src" "$published/Cargo.toml" "$work/chitchat/"
    find "$work/chitchat" -type f ! -name '*.rs' ! -name Cargo.toml -delete
    (cd "$work/chitchat" && patch -s -p1) < vendor/chitchat.patch
    cp "$folder/LICENSE" "$folder/rustfmt.toml" "$work/chitchat/"
}

case ${1-} in
'')
    vendor
    rm -rf "$folder"
    cp -r "$work/chitchat" "$folder"
    ;;
--check)
    vendor
    diff -r "$work/chitchat" "$folder" ||
        { echo "vendor/chitchat is not chitchat $version with vendor/chitchat.patch; run $0" >&2; exit 1; }
    ;;
--needed)
    package '*' 'fn main() { let _ = chitchat::ChitchatEnvelope::deserialize; }'
    if found=$(CARGO_TARGET_DIR="$work/target" cargo check -q --message-format short \
        --manifest-path "$work/Cargo.toml" 2>&1); then
        echo "the newest chitchat has a public codec: remove the patch, see vendor/README.md" >&2
        exit 1
    fi
    # Anything else, such as a network that is down, says nothing about the codec.
    case $found in *E0624*) ;; *) echo "$found" >&2; exit 1 ;; esac
    newest=$(sed -n '/^name = "chitchat"$/{n;s/version = "\(.*\)"/\1/p;}' "$work/Cargo.lock")
    [ "$newest" = "$version" ] || { echo "chitchat $newest is out; vendored is $version" >&2; exit 1; }
    ;;
*)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
