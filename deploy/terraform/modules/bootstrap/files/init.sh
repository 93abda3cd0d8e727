#!/bin/bash
# The first control-plane node makes the cluster; the others join it. Which one is first is decided by an election.
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_CLUSTER OPTML_API_HOST OPTML_KUBERNETES_VERSION OPTML_POD_CIDR OPTML_ISSUER_URL
CONFIG="$RUN/init.yaml"
# On the state volume: a new machine of the same node knows how far the old one came.
PROGRESS="$ROOT/var/lib/optml-state"
BEGUN="$PROGRESS/initialising"
INITIALISED="$PROGRESS/initialised"
mkdir -p "$PROGRESS"

initialise() {
  trap 'rm -f "$CONFIG"' RETURN
  cat >"$CONFIG" <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration:
  kubeletExtraArgs:
    - {name: cloud-provider, value: external}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: $OPTML_CLUSTER
kubernetesVersion: v$OPTML_KUBERNETES_VERSION
controlPlaneEndpoint: "$OPTML_API_HOST:6443"
networking: {podSubnet: "$OPTML_POD_CIDR"}
apiServer:
  certSANs: ["127.0.0.1", "localhost"]
  extraArgs:
    - {name: profiling, value: "false"}
    - {name: service-account-issuer, value: "$OPTML_ISSUER_URL"}
    - {name: service-account-jwks-uri, value: "$OPTML_ISSUER_URL/openid/v1/jwks"}
controllerManager:
  extraArgs:
    - {name: cloud-provider, value: external}
    - {name: profiling, value: "false"}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
# On a spot machine that is taken away pods get their SIGTERM, and time for a last checkpoint.
shutdownGracePeriod: 120s
shutdownGracePeriodCriticalPods: 15s
YAML
  touch "$BEGUN"
  # No token of its own: the publisher makes short-lived ones.
  kubeadm init --config "$CONFIG" --skip-token-print --ignore-preflight-errors=DirAvailable--var-lib-etcd >"$RUN/kubeadm.log" 2>&1 || {
    log "kubeadm init failed; its log is $RUN/kubeadm.log, which only root may read"
    return 1
  }
  touch "$INITIALISED"
  rm -f "$BEGUN"
}

if [ -e "$BEGUN" ] && [ ! -e "$INITIALISED" ]; then
  log "this node was interrupted while it made the cluster; it begins anew"
  kubeadm reset --force >/dev/null 2>&1
  rm -f "$BEGUN"
fi

if [ -e "$ROOT/etc/kubernetes/kubelet.conf" ] && [ -e "$KUBECONFIG" ]; then
  log "this node is a member already"
  systemctl start kubelet.service
elif optml-claim initialiser 0; then
  log "this node makes the cluster"
  initialise
else
  status=$?
  [ "$status" -eq 3 ] || exit "$status"
  optml-join
  exit 0
fi

# Both are safe to run again, and a node that was interrupted between them must.
if [ -e "$INITIALISED" ]; then
  optml-publish
  optml-addons
fi
