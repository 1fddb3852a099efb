#!/bin/sh
# Prints the image that the manifests ask for, with its tag: nothing else says where it is kept.
set -eu
cd "$(dirname "$0")/.."
sed -n 's/^ *image: //p' manifests/daemonset.yaml
