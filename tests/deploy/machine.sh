#!/bin/sh
# Runs a script as root on a copy of this machine, of which nothing stays: the root is an overlay in memory, in
# namespaces of its own. A copy of the repository lies at /usr/local/src/ingestd there, and systemctl is played.
#
#   tests/deploy/machine.sh REPOSITORY SCRIPT
set -eu

if [ "$1" != --inside ]; then
    exec unshare --mount --pid --fork --kill-child --propagation private -- "$0" --inside "$1" "$2"
fi
repository=$2 script=$3

memory=$(mktemp -d)
mount -t tmpfs -o size=3g,mode=755 tmpfs "$memory"
mkdir "$memory/upper" "$memory/work" "$memory/root" "$memory/here"
cp "$script" "$memory/here/script"
cp "$repository/tests/deploy/systemctl.py" "$memory/here/systemctl"
chmod 755 "$memory/here/script" "$memory/here/systemctl"
root="$memory/root"
mount -t overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/usr/local/src/ingestd" "$root/usr/local/sbin"
# A copy: who edits the repository meanwhile must not change what the script installs a second time.
tar -C "$repository" --exclude=./.git --exclude=./.venv --exclude='*_cache' --exclude=__pycache__ -cf - . |
    tar -C "$root/usr/local/src/ingestd" -xf -
chmod -R a-w "$root/usr/local/src/ingestd"
cp "$memory/here/systemctl" "$root/usr/local/sbin/systemctl"
cp "$memory/here/script" "$root/root/script"

status=0
chroot "$root" /usr/bin/env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    /bin/bash /root/script || status=$?
umount -R -l "$memory"
rmdir "$memory"
exit "$status"
