#!/bin/sh
# Writes into a directory what people download of a release: one file to apply for each common cluster, with the image
# pinned by its digest; and, over everything in the directory, sha256sums. Needs kubectl.
#
#   scripts/release-files.sh sha256:0123… dist
set -eu
case "$1" in
    sha256:????????????????????????????????????????????????????????????????) ;;
    *) echo "release-files: '$1' is no digest of an image, like sha256: and 64 digits" >&2; exit 1 ;;
esac
digest=$1
mkdir -p "$2"
dist=$(realpath "$2")
cd "$(dirname "$0")/.."
image=$(scripts/image-name.sh)
mkdir -p target
scratch=$(mktemp -d -p target)
trap 'rm -rf "$scratch"' EXIT

# The objects of a directory, with the image as it was pushed, as file $2.
render() {
    cat >"$scratch/kustomization.yaml" <<EOF
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../$1]
images:
  - name: ${image%:*}
    newTag: $(scripts/version.sh)
    digest: $digest
EOF
    kubectl kustomize "$scratch" >"$dist/$2"
}

render manifests install.yaml
render kustomize/overlays/prometheus-operator install-prometheus-operator.yaml
cd "$dist"
rm -f sha256sums
sha256sum -- * >.sums
mv .sums sha256sums
