#!/usr/bin/env bash
# make bench: bench.sh index|answer|serve|scale|federate|repository|reach... Makes the packages (SIZE, HEADERS), builds
# and measures. Results are written to bench/results. The first run takes about 70 minutes, 40 of them for the packages,
# which federate, repository and reach do not need.
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
if [[ $* == reach ]]; then
  make/python.sh
  declare -A sizes=([small]=2000 [medium]=20000 [large]=100000)
  builds=${BUILDS:-${sizes[$SIZE]:?expected SIZE=small, medium or large}}
  exec target/release/darkserver-bench reach --builds "$builds" --only "$ONLY"
fi
if [[ $* == repository ]]; then
  declare -A sizes=([small]=2000 [medium]=20000 [large]=70000)
  packages=${PACKAGES:-${sizes[$SIZE]:?expected SIZE=small, medium or large}}
  directory=$PWD/var/corpus/repository-$packages
  if [[ ! -d $directory ]]; then
    rm -rf "$directory.part"
    # Four times the usual number of build-ids in a package: 740,000 in 70,000 packages.
    target/release/headers "$directory.part" --repository --packages "$packages" --times 4
    mv "$directory.part" "$directory"
  fi
  exec target/release/darkserver-bench repository --repository "$directory" --rounds "$ROUNDS"
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
