#!/bin/sh
# Builds the image of ./Dockerfile without a registry, and lays it out to be run and looked at.
#
#   deploy/image/build.sh          (make image-check does it, then tests what came out)
#
# Needs root, buildah and debootstrap (deploy/dev/setup.sh --image installs them). The base image is made by
# debootstrap under the name that the Dockerfile gives, once: `rm -r` the folder to make it anew.
# pip gets what it is configured to use on this machine; nothing of that is left in the image.
#
# In INGESTD_IMAGE_DIR (/var/tmp/ingestd-image) afterwards:
#   rootfs       the image's files
#   config.json  its configuration, in Docker's format
#   env, user    of that, what deploy/image/run.sh needs
#   figures      build seconds, bytes of the image and of its base
set -eu

cd "$(dirname "$0")/../.."
work=${INGESTD_IMAGE_DIR:-/var/tmp/ingestd-image}
tag=localhost/ingestd:check
base=$(sed -n 's/^FROM \([^ ]*\) AS builder$/\1/p' Dockerfile)

[ "$(id -u)" = 0 ] || { echo "build.sh: needs root" >&2; exit 1; }
for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null || { echo "build.sh: $tool is missing: deploy/dev/setup.sh --image" >&2; exit 1; }
done
umask 022
mkdir -p "$work"
chmod 755 "$work"
export BUILDAH_ISOLATION=chroot
# vfs needs nothing of the kernel, and what it lays out is a plain folder: no mount stays behind.
storage() { buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"; }

# Debian's own Python in place of Docker's, at the same version; the names that Docker's image has.
make_base() {
    container=$(storage from scratch)
    root=$(storage mount "$container")
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" \
        >"$work/debootstrap.log"
    ln -s ../../bin/python3 "$root/usr/local/bin/python"
    ln -s ../../bin/pip3 "$root/usr/local/bin/pip"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    storage config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python "$container"
    storage commit --quiet --format docker --rm "$container" "docker.io/library/$base" >/dev/null
}

# One file of all that pip is told here, the environment over the files, as pip itself has it.
pip_settings() {
    python3 -m pip config list |
        sed -e "s/^:env:\./2 /;t" -e 's/^[a-z]*\./1 /' | sort |
        sed -n "s/^[12] \([a-z-]*\)='\(.*\)'\$/\1 = \2/p" |
        awk -F' = ' '{ said[$1] = $0 } END { print "[global]"; for (name in said) print said[name] }'
}

# What these settings name on this disk must be there in the build as well.
pip_paths() {
    tr ' ' '\n' <"$work/pip.conf" | while read -r word; do
        case "$word" in
            file:///*) path=$(dirname "${word#file://}") ;; # an index: its files lie beside it
            /*) path=$word ;;
            *) continue ;;
        esac
        if [ -e "$path" ] && [ "$path" != / ]; then printf '%s\n' "$path"; fi
    done | sort -u
}

build() {
    pip_settings >"$work/pip.conf"
    set -- --volume "$work/pip.conf:/etc/pip.conf:ro"
    for path in $(pip_paths); do
        set -- "$@" --volume "$path:$path:ro"
    done
    storage bud --pull-never --format docker --tag "$tag" "$@" . >"$work/build.log" 2>&1 ||
        { tail -n 50 "$work/build.log" >&2; exit 1; }
}

lay_out() {
    storage rm --all >/dev/null
    container=$(storage from --pull-never "$tag")
    ln -sfn "$(storage mount "$container")" "$work/rootfs"
    storage inspect --type image "$tag" | python3 -c '
import json, pathlib, sys

config = json.load(sys.stdin)["Docker"]["config"]
folder = pathlib.Path(sys.argv[1])
(folder / "config.json").write_text(json.dumps(config))
(folder / "env").write_text("".join(line + "\n" for line in config["Env"]))
(folder / "user").write_text(config["User"] + "\n")
' "$work"
}

bytes_of() { du -sxb "$1" | cut -f1; }

began=$(date +%s)
if ! storage inspect --type image "docker.io/library/$base" >/dev/null 2>&1; then
    make_base
fi
based=$(date +%s)
build
built=$(date +%s)
lay_out
{
    echo "base_seconds $((based - began))"
    echo "build_seconds $((built - based))"
    echo "image_bytes $(bytes_of "$work/rootfs/")"
    echo "ingestd_bytes $(bytes_of "$work/rootfs/opt/ingestd")"
} | tee "$work/figures"
