#!/bin/sh
# Makes the secrets that compose.yaml names, in secrets/ beside it. What is there already stays as it is.
# Needs root: each file belongs to the user of the container that reads it, and to nobody else.
set -eu

cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || { echo "secrets.sh: must be run as root" >&2; exit 1; }
ingestd_user=10001
postgres_user=999

umask 077
mkdir -p secrets
chmod 711 secrets

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
put() { # name owner, the text from standard input
    [ -e "secrets/$1" ] || { cat >"secrets/.$1" && chown "$2:$2" "secrets/.$1" && chmod 400 "secrets/.$1" && mv "secrets/.$1" "secrets/$1"; }
}

head -c 32 /dev/urandom | base64 | put master_key "$ingestd_user"
for database in content keystore; do
    random 24 | put "${database}_password" "$postgres_user"
    printf 'postgresql://ingestd:%s@%s/ingestd\n' "$(cat "secrets/${database}_password")" "$database" |
        put "${database}_url" "$ingestd_user"
done
