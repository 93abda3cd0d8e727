#!/bin/bash
# optml-claim OFFICE SECONDS: succeed where this node holds OFFICE from now on, for SECONDS (0: for ever).
# One conditional write decides, so two nodes can never both succeed. An office whose time is over is free again; one
# held for ever is not.
# Exit 0: held. 3: another holds it. Others: AWS could not be asked, which is never taken for "held".
set -euo pipefail
# shellcheck source=deploy/terraform/modules/bootstrap/files/node.sh
. "${OPTML_ROOT:-}/usr/local/lib/optml/node.sh"

need OPTML_ELECTION_TABLE OPTML_NODE
OFFICE=$1
SECONDS_HELD=$2
NOW=$(date +%s)
UNTIL=$((SECONDS_HELD == 0 ? 9999999999 : NOW + SECONDS_HELD))

if errors=$(aws dynamodb update-item --table-name "$OPTML_ELECTION_TABLE" \
  --key "{\"office\": {\"S\": \"$OFFICE\"}}" \
  --update-expression 'SET holder = :me, held_until = :until' \
  --condition-expression 'attribute_not_exists(office) OR holder = :me OR held_until < :now' \
  --expression-attribute-values "{\":me\": {\"S\": \"$OPTML_NODE\"}, \":until\": {\"N\": \"$UNTIL\"}, \":now\": {\"N\": \"$NOW\"}}" \
  2>&1 >/dev/null); then
  exit 0
fi
case "$errors" in
  *ConditionalCheckFailed*) exit 3 ;;
  *) die "the election could not be held: ${errors//$'\n'/ }" ;;
esac
