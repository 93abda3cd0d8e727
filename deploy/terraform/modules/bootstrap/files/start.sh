#!/bin/bash
# Make this machine what it is to be. Runs at every boot; each step does only what is not yet done.
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_KIND OPTML_CLUSTER OPTML_REGION

if [ "$OPTML_KIND" = control-plane ]; then
  optml-volume
fi
optml-prepare
case "$OPTML_KIND" in
  worker) optml-join ;;
  control-plane)
    optml-init
    systemctl enable --now optml-publish.timer optml-snapshot.timer
    ;;
  *) die "OPTML_KIND is \"control-plane\" or \"worker\", not \"$OPTML_KIND\"" ;;
esac
