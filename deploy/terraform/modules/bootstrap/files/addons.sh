#!/bin/bash
# Install what the cluster needs beside Kubernetes. All is downloaded and checked before anything is applied.
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_CLUSTER OPTML_REGION OPTML_CSI_ROLE
DOWNLOADS=$(mktemp -d)
trap 'rm -rf "$DOWNLOADS"' EXIT
VALUES="$ROOT/etc/optml/manifests"

for name in calico keda node-termination-handler; do
  fetch "$name" "$DOWNLOADS/$name.yaml"
done
for name in helm cloud-controller-manager cluster-autoscaler metrics-server ebs-csi-driver dashboard; do
  fetch "$name" "$DOWNLOADS/$name.tgz"
done
tar --extract --gzip --file "$DOWNLOADS/helm.tgz" --directory "$DOWNLOADS" --strip-components 1 linux-amd64/helm

apply() { retry 5 kubectl apply --server-side --force-conflicts --filename "$1" >/dev/null; }

chart() {
  local name=$1 namespace=$2
  shift 2
  retry 5 "$DOWNLOADS/helm" upgrade --install "$name" "$DOWNLOADS/$name.tgz" --namespace "$namespace" --create-namespace \
    --history-max 3 "$@" >/dev/null
}

# The network first: without it no pod below gets an address.
apply "$DOWNLOADS/calico.yaml"
# On control-plane nodes and on the host's network, where the node's own role is to be had.
chart cloud-controller-manager kube-system --set-string "args={--v=2,--cloud-provider=aws,--configure-cloud-routes=false}"
chart cluster-autoscaler kube-system --values "$VALUES/autoscaler-values.yaml" \
  --set "autoDiscovery.clusterName=$OPTML_CLUSTER" --set "awsRegion=$OPTML_REGION"
# Kubelets sign their own certificates; the figures cross our own network, between our own groups.
chart metrics-server kube-system --set 'args={--kubelet-insecure-tls}'
chart ebs-csi-driver kube-system --values "$VALUES/csi-values.yaml" --set-string "controller.env[0].value=$OPTML_CSI_ROLE"
apply "$DOWNLOADS/node-termination-handler.yaml"
apply "$DOWNLOADS/keda.yaml"
chart dashboard dashboard --values "$VALUES/dashboard-values.yaml"
apply "$VALUES/operators.yaml"
log "installed"
