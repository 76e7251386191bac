#!/usr/bin/env bash
# make test: all checks of CI, the fastest first. DARKSERVER_SOAK=1: large counts and long runs.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/usr/libexec
unset DEBUGINFOD_URLS

step() { printf '\n== %s (after %d s)\n' "$1" "$SECONDS"; }

step 'format'
cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
step 'lint'
cargo clippy --workspace --all-targets --locked -- -D warnings
step 'build'
cargo build --workspace --bins --locked
step 'fixtures: the committed RPMs have their digests and contents'
(cd compat-tests/fixtures && sha256sum --quiet -c SHA256SUMS)
compat-tests/fixtures/truth.sh --check
step 'fixtures: rebuilt, they are equivalent'
make/fixtures.sh check
step 'documentation'
RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' \
  cargo doc --workspace --no-deps --document-private-items --locked --quiet
step 'chart'
VENV=var/chart-venv helm/test/run.sh
step 'tests'
# Many tests wait for servers most of their time: one more at once than two processors have.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-3} cargo test --workspace --locked
step 'make run'
make/test-run.sh
step 'make install'
make/test-install.sh
step 'done'
