#!/bin/sh
# Prints the image in the manifests, with its tag. This is the only place that defines the image's name.
set -eu
cd "$(dirname "$0")/.."
sed -n 's/^ *image: //p' manifests/daemonset.yaml
