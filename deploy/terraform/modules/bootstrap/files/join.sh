#!/bin/bash
# Join the cluster with the secret that its publisher left in SSM. A cluster whose authority cannot be checked is never
# joined; the secret is in memory only, and only as long as kubeadm needs it.
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_CLUSTER OPTML_KIND
if [ -e "$ROOT/etc/kubernetes/kubelet.conf" ]; then
  log "this node is a member already"
  systemctl start kubelet.service
  exit 0
fi
SECRETS=$(mktemp -d -p "$RUN")
trap 'rm -rf "$SECRETS"' EXIT

read_parameter() {
  aws ssm get-parameter --with-decryption --name "/$OPTML_CLUSTER/$1" --query Parameter.Value --output text >"$SECRETS/$1"
}

configuration() {
  read_parameter join || return 1
  grep -Eq '^kind: JoinConfiguration$' "$SECRETS/join" || { log "what is published is no JoinConfiguration"; return 1; }
  # Without the authority's fingerprint whoever answers at the address would be believed.
  grep -Eq '^ +caCertHashes: \["sha256:[0-9a-f]{64}"\]$' "$SECRETS/join" || { log "what is published has no fingerprint of the authority"; return 1; }
  ! grep -q unsafeSkipCAVerification "$SECRETS/join" || { log "what is published skips the check of the authority"; return 1; }
  cp "$SECRETS/join" "$SECRETS/configuration"
  [ "$OPTML_KIND" = control-plane ] || return 0
  read_parameter certificate-key || return 1
  grep -Eqx '[0-9a-f]{64}' "$SECRETS/certificate-key" || { log "the published key of certificates does not look like one"; return 1; }
  { printf 'controlPlane:\n  certificateKey: '; cat "$SECRETS/certificate-key"; } >>"$SECRETS/configuration"
}

# Fetched anew for each try: a secret that ended in the meantime has been published again by then.
attempt() {
  configuration || return 1
  kubeadm join --config "$SECRETS/configuration" --ignore-preflight-errors=DirAvailable--var-lib-etcd >"$RUN/kubeadm.log" 2>&1 || {
    kubeadm reset --force >/dev/null 2>&1 || true
    return 1
  }
}

retry "${OPTML_TRIES:-40}" attempt || die "this node could not join; kubeadm's log is $RUN/kubeadm.log, which only root may read"
log "joined"
