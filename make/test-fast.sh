#!/usr/bin/env bash
# make test-fast: unit tests, GDB and debuginfod-find against a gateway, the JSON API.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/usr/libexec
unset DEBUGINFOD_URLS

cargo build --workspace --bins --locked
cargo test --workspace --lib --bins --locked --quiet
cargo test -p compat-tests --test gdb --locked --quiet -- --exact a_core_alone_is_enough
cargo test -p compat-tests --test json_api --locked --quiet
echo "make test-fast: ok after $SECONDS s"
