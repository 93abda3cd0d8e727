#!/bin/bash
# Publish what lets a machine into the cluster: a token of two hours and the authority's fingerprint for workers, the
# key of the uploaded certificates for control-plane nodes, a certificate of a day for operators. Into SSM SecureStrings
# under a key of their own; no secret is an argument of a program, a line of a log or a file on a disk.
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_CLUSTER OPTML_API_HOST OPTML_JOIN_KEY OPTML_ISSUER_BUCKET
# Others wait until this one is through: certificates and the key that opens them must be of the same run.
status=0
optml-claim publisher 600 || status=$?
[ "$status" -ne 3 ] || { log "another node publishes"; exit 0; }
[ "$status" -eq 0 ] || exit "$status"

SECRETS=$(mktemp -d -p "$RUN")
trap 'rm -rf "$SECRETS"' EXIT

# put NAME FILE: the text of FILE as the parameter NAME. Kubeconfigs are over the 4 KiB of the standard tier.
put() {
  retry 5 aws ssm put-parameter --name "/$OPTML_CLUSTER/$1" --type SecureString --key-id "$OPTML_JOIN_KEY" \
    --tier Intelligent-Tiering --overwrite --value "file://$2" >/dev/null
}

fingerprint() {
  openssl x509 -pubkey -noout -in "$ROOT/etc/kubernetes/pki/ca.crt" |
    openssl pkey -pubin -outform der | sha256sum | cut -d ' ' -f 1
}

join_configuration() {
  kubeadm token create --ttl 2h --description "published by $OPTML_NODE" >"$SECRETS/token" 2>/dev/null ||
    die "kubeadm made no token"
  grep -Eqx '[a-z0-9]{6}\.[a-z0-9]{16}' "$SECRETS/token" || die "kubeadm's token does not look like one; nothing was published"
  local sum
  sum=$(fingerprint)
  [[ $sum =~ ^[0-9a-f]{64}$ ]] || die "no fingerprint of the authority; nothing was published"
  {
    printf 'apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery:\n  bootstrapToken:\n'
    printf '    apiServerEndpoint: "%s:6443"\n    caCertHashes: ["sha256:%s"]\n    token: ' "$OPTML_API_HOST" "$sum"
    cat "$SECRETS/token"
  } >"$SECRETS/join"
}

certificate_key() {
  kubeadm certs certificate-key >"$SECRETS/certificate-key"
  grep -Eqx '[0-9a-f]{64}' "$SECRETS/certificate-key" || die "kubeadm's key does not look like one; nothing was published"
  {
    printf 'apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\ncertificateKey: '
    cat "$SECRETS/certificate-key"
    printf -- '---\n'
    kubectl --namespace kube-system get configmap kubeadm-config --output 'jsonpath={.data.ClusterConfiguration}'
  } >"$SECRETS/upload.yaml"
  # It prints the key that it used.
  kubeadm init phase upload-certs --upload-certs --config "$SECRETS/upload.yaml" >/dev/null 2>&1 ||
    die "kubeadm uploaded no certificates"
}

kubeconfig() {
  kubectl --namespace kube-system get configmap kubeadm-config --output 'jsonpath={.data.ClusterConfiguration}' >"$SECRETS/cluster.yaml"
  kubeadm kubeconfig user --config "$SECRETS/cluster.yaml" --client-name optml-operator --org optml:operators \
    --validity-period 24h >"$SECRETS/kubeconfig" 2>/dev/null || die "kubeadm made no kubeconfig"
}

# Public keys: what AWS asks for when a pod shows its token.
issuer() {
  kubectl get --raw /.well-known/openid-configuration >"$SECRETS/openid-configuration"
  kubectl get --raw /openid/v1/jwks >"$SECRETS/jwks"
  retry 5 aws s3 cp --only-show-errors --content-type application/json "$SECRETS/openid-configuration" \
    "s3://$OPTML_ISSUER_BUCKET/.well-known/openid-configuration"
  retry 5 aws s3 cp --only-show-errors --content-type application/json "$SECRETS/jwks" "s3://$OPTML_ISSUER_BUCKET/openid/v1/jwks"
}

# The certificates' key before the token: who may join the control plane finds both, or waits for the second.
certificate_key
put certificate-key "$SECRETS/certificate-key"
join_configuration
put join "$SECRETS/join"
kubeconfig
put kubeconfig "$SECRETS/kubeconfig"
issuer
log "published"
