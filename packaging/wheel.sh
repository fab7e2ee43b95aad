#!/bin/sh
# Builds a wheel that carries libsodium and libcrypto: packaging/wheel.sh [DIR], or ./dev wheel [DIR].
set -eu
cd "$(dirname "$0")/.."
out=${1:-dist}
plain=$(mktemp -d)
trap 'rm -rf "$plain"' EXIT
python -m pip wheel -q --no-deps --wheel-dir "$plain" .
python -m auditwheel repair --strip --wheel-dir "$out" "$plain"/towpath-*.whl
