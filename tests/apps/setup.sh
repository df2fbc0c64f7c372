#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
#
# Prepare the real-programs benchmark (bench_apps.py): Debian packages when some are missing, a virtual environment
# with py-lmdb in target/bench-venv, and target/bench-apps/drbg. Does only what is not done yet; run it as often as you like.
set -eu

PACKAGES="openssl libssl-dev gcc g++ libc6-dev python3 python3-venv rocksdb-tools"
PYTHON=/usr/bin/python3
LMDB=1.7.5    # newer versions (3.0) no longer call getpid

here=$(dirname "$(readlink -f "$0")")
target=$here/../../target
venv=$target/bench-venv
drbg=$target/bench-apps/drbg

fail() {
    echo "setup.sh: $*" >&2
    exit 1
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
    missing=
    for package in $PACKAGES; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || fail "missing packages; run as root: apt-get install$missing"
    echo "setup.sh: installing$missing" >&2
    # shellcheck disable=SC2086 # a list of words
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing; } >&2 ||
        fail "could not install$missing"
}

has_lmdb() {
    [ -x "$venv/bin/python" ] &&
        "$venv/bin/python" -c "import lmdb, sys; sys.exit(lmdb.__version__ != '$LMDB')" 2>/dev/null
}

create_venv() {
    if has_lmdb; then return 0; fi
    echo "setup.sh: making target/bench-venv with lmdb $LMDB" >&2
    "$PYTHON" -m venv --clear "$venv" || fail "could not create $venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "lmdb==$LMDB" >&2 || fail "could not install lmdb $LMDB from PyPI"
    has_lmdb || fail "lmdb $LMDB was installed in $venv, but importing it fails"
}

build_drbg() {
    mkdir -p "$target/bench-apps"
    if [ "$drbg" -nt "$here/drbg.c" ]; then return 0; fi
    cc -std=gnu11 -O2 -Wall -Wextra -Werror "$here/drbg.c" -o "$drbg" -lcrypto || fail "could not build $drbg"
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    install_packages
else
    echo "setup.sh: no dpkg and apt-get here: hoping that OpenSSL 3 with its headers, cc, g++, db_bench and $PYTHON with venv are installed" >&2
fi
[ -x "$PYTHON" ] || fail "$PYTHON is missing"
mkdir -p "$target"
create_venv
build_drbg
