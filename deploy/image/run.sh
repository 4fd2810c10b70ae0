#!/bin/sh
# Runs a command in the image that build.sh laid out, as `docker run --read-only --tmpfs /tmp --cap-drop ALL
# --security-opt no-new-privileges` would: the image's user and environment, and a root that nobody can write.
# The network and the process ids are the machine's. The process keeps its id: signals reach the command.
#
#   deploy/image/run.sh [--config DIR] [--state DIR] [--bind DIR]... [--env NAME=VALUE]... -- ingestd run
#
#   --config DIR   read-only, at /etc/ingestd
#   --state DIR    the volume, at /var/lib/ingestd; the image's user must own it
#   --bind DIR     writable, where it is outside; below /tmp
set -eu

work=${INGESTD_IMAGE_DIR:-/var/tmp/ingestd-image}

if [ "${1:-}" != --inside ]; then
    exec unshare --mount --propagation private -- "$0" --inside "$@"
fi
shift

root=$(readlink -f "$work/rootfs")
user=$(cat "$work/user")
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o nosuid,nodev,noexec,size=64m,mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o nosuid,noexec,size=1m,mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
for file in /etc/hosts /etc/resolv.conf; do
    [ ! -e "$root$file" ] || mount --bind -o ro "$file" "$root$file"
done

environment=$(mktemp)
cat "$work/env" >"$environment"
while [ "$1" != -- ]; do
    case "$1" in
        --config) mount --bind "$2" "$root/etc/ingestd" && mount -o remount,bind,ro "$root/etc/ingestd" ;;
        --state) mount --bind "$2" "$root/var/lib/ingestd" ;;
        --bind) mkdir -p "$root$2" && mount --bind "$2" "$root$2" ;;
        --env) printf '%s\n' "$2" >>"$environment" ;;
        *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
shift
mount -o remount,bind,ro "$root"

while read -r assignment; do
    [ -z "$assignment" ] || set -- "$assignment" "$@"
done <"$environment"
rm -f "$environment"
cd /
exec chroot "$root" /usr/bin/setpriv --reuid "${user%%:*}" --regid "${user##*:}" --clear-groups --no-new-privs \
    --bounding-set=-all --inh-caps=-all -- /usr/bin/env --ignore-environment --chdir=/var/lib/ingestd "$@"
