# shellcheck shell=bash
# What every script of a node needs: its settings, its log, patience, and downloads that are what was pinned.

# Before every path; empty on a node.
ROOT="${OPTML_ROOT:-}"
# Memory, not disk: what is secret is gone with the power.
RUN="$ROOT/run/optml"
STATE="$ROOT/var/lib/optml"
LOCK="$ROOT/etc/optml/addons.lock"

set -a
# shellcheck source=/dev/null
. "$ROOT/etc/optml/node.env"
set +a
# What a node does with AWS, it does in its own region.
export AWS_DEFAULT_REGION="${OPTML_REGION:-}" AWS_PAGER=""
# There on control-plane nodes only.
export KUBECONFIG="$ROOT/etc/kubernetes/admin.conf"

log() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
  log "$*"
  exit 1
}

need() {
  local name
  for name in "$@"; do
    [ -n "${!name:-}" ] || die "/etc/optml/node.env does not set $name"
  done
}

# retry TIMES COMMAND…: again after 1, 2, 4 … seconds, 30 at most. What COMMAND prints on success is all that is printed.
retry() {
  local times=$1 attempt pause_s=1 output
  shift
  for ((attempt = 1; attempt <= times; attempt++)); do
    if output=$("$@"); then
      [ -z "$output" ] || printf '%s\n' "$output"
      return 0
    fi
    [ "$attempt" -lt "$times" ] || break
    # Named without its arguments: some of them are nobody's business.
    log "$1 ${2:-} failed, try $attempt of $times; again in $pause_s s"
    sleep "$pause_s"
    pause_s=$((pause_s * 2 > 30 ? 30 : pause_s * 2))
  done
  log "$1 ${2:-} failed $times times"
  return 1
}

# fetch NAME FILE: download the entry NAME of addons.lock into FILE; nothing is left there unless its checksum is right.
fetch() {
  local name=$1 target=$2 url sum partial
  url=$(awk -v name="$name" '$1 == name {print $3}' "$LOCK")
  sum=$(awk -v name="$name" '$1 == name {print $4}' "$LOCK")
  [[ $url == https://* ]] || die "addons.lock has no https address for $name"
  [[ $sum =~ ^[0-9a-f]{64}$ ]] || die "addons.lock has no checksum for $name: run deploy/terraform/addons/pin"
  partial="$target.partial"
  rm -f "$partial"
  retry 5 curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location --output "$partial" "$url" || return 1
  if ! printf '%s  %s\n' "$sum" "$partial" | sha256sum --check --status; then
    rm -f "$partial"
    die "$name: the download's checksum is not the pinned one; nothing was installed"
  fi
  mv "$partial" "$target"
}

# imds PATH: what the machine's metadata service says, version 2. The token is read from a file, never an argument.
imds() {
  local header
  header=$(mktemp -p "$RUN")
  {
    printf 'X-aws-ec2-metadata-token: '
    curl --fail --silent --max-time 5 --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
      http://169.254.169.254/latest/api/token
  } >"$header" || { rm -f "$header"; return 1; }
  curl --fail --silent --max-time 5 --header "@$header" "http://169.254.169.254/latest/meta-data/$1" || { rm -f "$header"; return 1; }
  rm -f "$header"
}

mkdir -p "$RUN" "$STATE"
chmod 700 "$RUN"
umask 077
