#!/bin/sh
# Install the Debian 12 packages that building, running and testing need. Nothing to install: says nothing, does nothing.
set -eu

# build
packages="gcc g++ make meson ninja-build pkg-config ca-certificates
libh2o-evloop-dev liburing-dev liblz4-dev libroaring-dev libprotobuf-c-dev protobuf-c-compiler
libssl-dev zlib1g-dev libzstd-dev libsqlite3-dev libxxhash-dev libsimdjson-dev libcurl4-openssl-dev
tzdata"
# tests: unit tests, conformance and real-data runners, official clients from npm
packages="$packages libcmocka-dev python3 zstd curl protobuf-compiler"
command -v node >/dev/null 2>&1 || packages="$packages nodejs"
command -v npm >/dev/null 2>&1 || packages="$packages npm"

# further packages as arguments: .ci/packages.sh clang
packages="$packages $*"

missing=""
for p in $packages; do
    if ! dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed'; then
        missing="$missing $p"
    fi
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "trackway: this script knows Debian 12 (apt-get); on another system install the like of:$missing" >&2
    exit 1
fi
. /etc/os-release 2>/dev/null || true
if [ "${VERSION_CODENAME:-}" != "bookworm" ]; then
    echo "trackway: made for Debian 12 (bookworm), this is ${PRETTY_NAME:-unknown}; trying all the same" >&2
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1; then
    sudo="sudo"
else
    echo "trackway: root or sudo is needed to install:$missing" >&2
    exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq >&2
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >&2
