#!/bin/bash
# Mount the volume that this node's state lives on, which outlives the machine. A volume that holds anything is never
# formatted.
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_STATE_VOLUME
umask 022
MOUNT="$ROOT/var/lib/optml-state"
# NVMe names change between boots; the volume's serial number does not.
DEVICE="$ROOT/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${OPTML_STATE_VOLUME/-/}"

mounted() { mountpoint --quiet "$1"; }

if ! mounted "$MOUNT"; then
  retry "${OPTML_TRIES:-30}" test -e "$DEVICE" || die "volume $OPTML_STATE_VOLUME is not attached"
  # blkid: 0 it holds a file system, 2 it holds nothing. All else is doubt, and in doubt nothing is written.
  status=0
  blkid --probe "$DEVICE" >/dev/null || status=$?
  case $status in
    0) ;;
    2) mkfs.ext4 -q "$DEVICE" ;;
    *) die "cannot tell what volume $OPTML_STATE_VOLUME holds (blkid: $status); it was left alone" ;;
  esac
  mkdir -p "$MOUNT"
  mount -o noatime "$DEVICE" "$MOUNT"
fi

for part in etcd kubernetes kubelet; do
  case $part in
    kubernetes) place="$ROOT/etc/kubernetes" ;;
    *) place="$ROOT/var/lib/$part" ;;
  esac
  mounted "$place" && continue
  mkdir -p "$MOUNT/$part" "$place"
  chmod 700 "$MOUNT/$part"
  mount --bind "$MOUNT/$part" "$place"
done
