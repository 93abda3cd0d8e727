#!/bin/bash
# Container runtime, kubelet and kubeadm. Versions are pinned; packages are signed and held.
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_KUBERNETES_VERSION OPTML_REGION
# Public, all that this script writes.
umask 022

DONE="$STATE/prepared-$OPTML_KUBERNETES_VERSION"
[ ! -e "$DONE" ] || exit 0
DOWNLOADS=$(mktemp -d)
trap 'rm -rf "$DOWNLOADS"' EXIT

kernel() {
  printf 'overlay\nbr_netfilter\n' >"$ROOT/etc/modules-load.d/optml.conf"
  modprobe overlay
  modprobe br_netfilter
  printf 'net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\n' >"$ROOT/etc/sysctl.d/90-optml.conf"
  sysctl --system >/dev/null
  swapoff --all
}

packages() {
  local minor=${OPTML_KUBERNETES_VERSION%.*} keyring="$ROOT/etc/apt/keyrings/kubernetes.asc"
  mkdir -p "$ROOT/etc/apt/keyrings"
  # The key is pinned too: a repository that changes hands is refused.
  fetch kubernetes-apt-key "$keyring"
  printf 'deb [signed-by=%s] https://pkgs.k8s.io/core:/stable:/v%s/deb/ /\n' "$keyring" "$minor" \
    >"$ROOT/etc/apt/sources.list.d/kubernetes.list"
  export DEBIAN_FRONTEND=noninteractive
  retry 5 apt-get update --quiet >/dev/null
  retry 5 apt-get install --quiet --yes --no-install-recommends --allow-change-held-packages \
    awscli conntrack curl iptables openssl runc cri-tools kubernetes-cni \
    "kubelet=$OPTML_KUBERNETES_VERSION-*" "kubeadm=$OPTML_KUBERNETES_VERSION-*" "kubectl=$OPTML_KUBERNETES_VERSION-*" >/dev/null
  apt-mark hold kubelet kubeadm kubectl >/dev/null
}

runtime() {
  fetch containerd "$DOWNLOADS/containerd.tar.gz"
  tar --extract --gzip --file "$DOWNLOADS/containerd.tar.gz" --directory "$ROOT/usr/local"
  mkdir -p "$ROOT/etc/containerd"
  cat >"$ROOT/etc/containerd/config.toml" <<'TOML'
version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = true
TOML
  cat >"$ROOT/etc/systemd/system/containerd.service" <<'UNIT'
[Unit]
Description=containerd
After=network.target

[Service]
Type=notify
ExecStart=/usr/local/bin/containerd
Delegate=yes
KillMode=process
Restart=always
OOMScoreAdjust=-999
LimitNOFILE=infinity

[Install]
WantedBy=multi-user.target
UNIT
}

# Images of our own come from ECR, whose passwords the kubelet asks this program for.
registry() {
  mkdir -p "$ROOT/usr/local/lib/kubelet-credentials" "$ROOT/etc/kubelet"
  fetch ecr-credential-provider "$ROOT/usr/local/lib/kubelet-credentials/ecr-credential-provider"
  chmod 755 "$ROOT/usr/local/lib/kubelet-credentials/ecr-credential-provider"
  cat >"$ROOT/etc/kubelet/credentials.yaml" <<'YAML'
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: ecr-credential-provider
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    matchImages: ["*.dkr.ecr.*.amazonaws.com"]
    defaultCacheDuration: 6h
YAML
}

# The cloud provider knows a machine by its private DNS name.
kubelet() {
  local flags="--cloud-provider=external"
  flags+=" --image-credential-provider-config=/etc/kubelet/credentials.yaml"
  flags+=" --image-credential-provider-bin-dir=/usr/local/lib/kubelet-credentials"
  [ -z "${OPTML_NODE_LABELS:-}" ] || flags+=" --node-labels=$OPTML_NODE_LABELS"
  [ -z "${OPTML_NODE_TAINTS:-}" ] || flags+=" --register-with-taints=$OPTML_NODE_TAINTS"
  printf 'KUBELET_EXTRA_ARGS="%s"\n' "$flags" >"$ROOT/etc/default/kubelet"
}

sessions() {
  fetch amazon-ssm-agent "$DOWNLOADS/amazon-ssm-agent.deb"
  dpkg --install "$DOWNLOADS/amazon-ssm-agent.deb" >/dev/null
}

kernel
packages
runtime
registry
kubelet
sessions
systemctl daemon-reload
systemctl enable --now containerd.service
systemctl enable kubelet.service
touch "$DONE"
