#!/usr/bin/env bash
# make bench: bench.sh index|answer|serve|scale|federate... Makes the packages (SIZE, HEADERS), builds and measures.
# Results are written to bench/results. The first run takes about 70 minutes, 40 of them for the packages, which
# federate does not need.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:$PWD/var/tools/bin
unset DEBUGINFOD_URLS

SIZE=${SIZE:-medium} HEADERS=${HEADERS:-100000} ROUNDS=${ROUNDS:-3} SECONDS_EACH=${SECONDS_EACH:-3} ONLY=${ONLY:-}

make/install-tools.sh bench
cargo build --release --workspace --bins --locked
if [[ $* == federate ]]; then
  exec target/release/darkserver-bench federate --size "$SIZE" --rounds "$ROUNDS" --only "$ONLY"
fi
command -v oha > /dev/null || cargo install oha --locked --root var/tools
bench/corpus/make.py "$SIZE"
headers=var/corpus/headers-$HEADERS
if [[ ! -d $headers ]]; then
  rm -rf "$headers.part"
  target/release/headers "$headers.part" --packages "$HEADERS"
  mv "$headers.part" "$headers"
fi
for bench in "$@"; do
  more=()
  [[ $bench != scale ]] || more=(--build-ids "${BUILD_IDS:-10000000}")
  target/release/darkserver-bench "$bench" "${more[@]}" --rpms "var/corpus/$SIZE/packages" --headers "$headers" \
    --rounds "$ROUNDS" --seconds "$SECONDS_EACH" --only "$ONLY"
done
