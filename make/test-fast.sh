#!/usr/bin/env bash
# make test-fast: unit tests, GDB and debuginfod-find against a gateway, the JSON API.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/usr/libexec
unset DEBUGINFOD_URLS

# Always with --workspace: another selection of packages has other features, and would build dependencies again.
cargo build --workspace --bins --locked
cargo test --workspace --lib --bins --locked --quiet
cargo test --workspace --test gdb --locked --quiet -- --exact a_core_alone_is_enough
cargo test --workspace --test debuginfod --locked --quiet -- --exact \
  debuginfod_find_gets_executables_debuginfo_and_sources_of_old_and_new_packages
cargo test --workspace --test json_api --locked --quiet
echo "make test-fast: ok after $SECONDS s"
