#!/bin/sh
# Build both images without a container engine, on a base made from Debian's packages, and write them as root folders.
#
#   sudo deploy/images/build.sh WORK_FOLDER [LIBRARIES]
#
# For a machine with no Docker and no image registry: needs root, `buildah`, `debootstrap`, a Debian mirror and a Python
# package index; takes some minutes and about 4 GB (TensorFlow: 12 GB) below WORK_FOLDER. LIBRARIES is what
# Dockerfile.worker says, requirements.lock unless given. Where the network needs its own certificates or pip settings,
# CA_BUNDLE and PIP_CONF name the files; they are mounted while building and are in no image.
# deploy/images/try.sh WORK_FOLDER then runs what was built.
set -eu

work=$(mkdir -p "$1" && cd "$1" && pwd)
libraries=${2:-requirements.lock}
cd "$(dirname "$0")/../.."

export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
set -- --root "$work/storage" --runroot "$work/run"

if [ ! -e "$work/base/etc/os-release" ]; then
    debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base"
fi
base=$(buildah "$@" from scratch)
buildah "$@" copy --quiet "$base" "$work/base" /
buildah "$@" commit --quiet --rm "$base" localhost/optml-base

build() {  # NAME, then what buildah is told beside
    name=$1
    shift
    buildah --root "$work/storage" --runroot "$work/run" build --layers --file "Dockerfile.$name" \
        --build-arg BASE_IMAGE=localhost/optml-base --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
        ${CA_BUNDLE:+--volume "$CA_BUNDLE:/etc/ssl/certs/ca-certificates.crt:ro"} \
        ${PIP_CONF:+--volume "$PIP_CONF:/etc/pip.conf:ro"} "$@" --tag "localhost/optml-$name" .
    container=$(buildah --root "$work/storage" --runroot "$work/run" from "localhost/optml-$name")
    rm -rf "$work/$name"
    cp -a "$(buildah --root "$work/storage" --runroot "$work/run" mount "$container")" "$work/$name"
    buildah --root "$work/storage" --runroot "$work/run" rm "$container" >/dev/null
}

build worker --build-arg LIBRARIES="$libraries"
build api
echo "built: $work/worker, $work/api"
