#!/bin/bash
# Keep a snapshot of etcd in S3. Written beside etcd's data by its own program, checked, sent, removed.
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_SNAPSHOT_BUCKET OPTML_NODE
NAME="snapshot-$(date -u +%Y-%m-%dT%H-%M-%SZ).db"
# The folder that etcd's container shares with this node.
FILE="$ROOT/var/lib/etcd/$NAME"
trap 'rm -f "$FILE" "$FILE.part"' EXIT

container=$(crictl ps --quiet --name '^etcd$' --state Running | head -n 1)
[ -n "$container" ] || die "etcd does not run here; nothing was kept"
pki=/etc/kubernetes/pki/etcd
crictl exec "$container" etcdctl --endpoints https://127.0.0.1:2379 --cacert "$pki/ca.crt" \
  --cert "$pki/healthcheck-client.crt" --key "$pki/healthcheck-client.key" snapshot save "/var/lib/etcd/$NAME" >/dev/null
[ -s "$FILE" ] || die "etcd's snapshot is empty; nothing was kept"
crictl exec "$container" etcdutl snapshot status "/var/lib/etcd/$NAME" >/dev/null || die "etcd's snapshot is damaged; nothing was kept"
retry 5 aws s3 cp --only-show-errors "$FILE" "s3://$OPTML_SNAPSHOT_BUCKET/etcd/$OPTML_NODE/$NAME"
log "kept $NAME"
