#!/bin/sh
# Writes the files of a release into a directory: one file to apply for each common kind of cluster, with the image
# pinned by its digest, and sha256sums of everything in the directory. Needs kubectl.
#
#   scripts/release-files.sh sha256:0123… dist
set -eu
case "$1" in
    sha256:????????????????????????????????????????????????????????????????) ;;
    *) echo "release-files: '$1' is not the digest of an image: expected sha256: and 64 digits" >&2; exit 1 ;;
esac
digest=$1
mkdir -p "$2"
dist=$(realpath "$2")
cd "$(dirname "$0")/.."
image=$(scripts/image-name.sh)
mkdir -p target
scratch=$(mktemp -d -p target)
trap 'rm -rf "$scratch"' EXIT

# Writes the objects of directory $1 with the pushed image as file $2, below the command that makes the key.
render() {
    cat >"$dist/$2" <<'EOF'
# The agents wait for the key of the mesh. After this file, make it once:
#
#   printf '%s:member:%s\n' "$(date -u +%F)" "$(head -c 32 /dev/urandom | base64)" |
#       kubectl -n iperf3-mesh create secret generic iperf3-mesh-key --from-file=keys=/dev/stdin
EOF
    cat >"$scratch/kustomization.yaml" <<EOF
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../$1]
images:
  - name: ${image%:*}
    newTag: $(scripts/version.sh)
    digest: $digest
EOF
    kubectl kustomize "$scratch" >>"$dist/$2"
}

render manifests install.yaml
render kustomize/overlays/prometheus-operator install-prometheus-operator.yaml
cd "$dist"
rm -f sha256sums
sha256sum -- * >.sums
mv .sums sha256sums
