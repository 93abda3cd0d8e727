#!/bin/sh
# Run what build.sh built: as uid 10001, with a read-only root and nothing writable but /tmp, without a container engine.
#
#   sudo deploy/images/try.sh WORK_FOLDER
#
# A Valkey runs outside; the worker's image must complete an experiment on it, the API's answer /healthz and hold no
# TensorFlow. Needs root, `unshare`, `setpriv` and `curl`, and loopback ports 16379 and 18000.
set -eu

work=$(cd "$1" && pwd)
here=$(mktemp -d)
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
url="redis://:$password@127.0.0.1:16379/0"
pids=

finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$here"
}
trap finish EXIT
trap 'exit 1' INT TERM

inside() {  # IMAGE COMMAND…: what a container engine does with readOnlyRootFilesystem and runAsUser
    image=$1
    shift
    exec unshare --mount sh -ec '
        mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"
        mount -t tmpfs -o mode=1777 tmpfs "$0/tmp"
        mount -t proc proc "$0/proc"
        mount --bind /dev "$0/dev"
        mount -t tmpfs -o mode=1777,size=64m tmpfs "$0/dev/shm"
        mount --bind '"$here"'/archive "$0/mnt"
        exec chroot "$0" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all \
            /usr/bin/env -i PATH=/opt/optml/bin:/usr/bin:/bin HOME=/tmp XDG_CACHE_HOME=/tmp/.cache MPLCONFIGDIR=/tmp/.mpl \
            NUMBA_CACHE_DIR=/tmp/.numba OPTML_CACHE_DIR=/tmp/optml OPTML_BROKER_URL='"$url"' OPTML_ARCHIVE_URL=/mnt \
            /usr/bin/tini -s -- "$@"
    ' "$work/$image" "$@"
}

mkdir "$here/archive" "$here/store"
chown 10001:10001 "$here/archive"
"$(find "$work/worker/opt/optml" -name valkey-server -type f)" --bind 127.0.0.1 --port 16379 --requirepass "$password" \
    --dir "$here/store" --save '' --maxmemory-policy noeviction >"$here/valkey.log" 2>&1 &
pids="$pids $!"

echo "== a root that cannot be written"
! (inside worker sh -c 'touch /opt/optml/x 2>/dev/null || touch /x 2>/dev/null')
(inside worker sh -c 'id -u; touch /tmp/x')

echo "== the worker completes an experiment"
(inside worker optml worker --processes 1) >"$here/worker.log" 2>&1 &
pids="$pids $!"
printf 'name: image\nalgorithm: lms\nparameters:\n  learning_rate: {values: [5e-6, 1e-6]}\n  filter_size: {value: 5}\ndata: {name: sunspots}\n' \
    >"$here/archive/image.yaml"
(inside worker optml submit /mnt/image.yaml --json) || { cat "$here/worker.log"; exit 1; }

echo "== the API's image has no TensorFlow"
(inside api python3 -c 'import importlib.util as u; assert u.find_spec("tensorflow") is None; import optml_queue')
if (inside api optml api --help) >/dev/null 2>&1; then
    echo "== the API answers"
    (inside api optml api --host 127.0.0.1 --port 18000) >"$here/api.log" 2>&1 &
    pids="$pids $!"
    curl --silent --show-error --fail --retry 30 --retry-delay 1 --retry-connrefused http://127.0.0.1:18000/healthz ||
        { cat "$here/api.log"; exit 1; }
    echo
else
    echo "this version has no \`optml api\`" >&2
    exit 1
fi
echo "all well"
