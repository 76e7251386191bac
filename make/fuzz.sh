#!/usr/bin/env bash
# make fuzz: each of TARGETS for FUZZ_SECONDS, one after the other; ends with the first finding.
# make fuzz-corpus: what `make fuzz` found goes into fuzz/corpus, as small as can be.
set -euo pipefail
cd "$(dirname "$0")/.."

all='build_id dwarf elf formats header nevra payload source_path'
what=${1:?expected run or corpus} TARGETS=${TARGETS:-$all} FUZZ_SECONDS=${FUZZ_SECONDS:-600}
for target in $TARGETS; do
  [[ " $all " == *" $target "* ]] || { echo "make fuzz: TARGETS: expected some of $all, found $target" >&2; exit 2; }
done
[[ $FUZZ_SECONDS =~ ^[1-9][0-9]*$ ]] || { echo "make fuzz: FUZZ_SECONDS: expected a number from 1, found $FUZZ_SECONDS" >&2; exit 2; }
if ! rustc +nightly --version > /dev/null 2>&1; then
  echo "make fuzz: expected a nightly Rust, found none; this gets one: rustup toolchain install nightly --profile minimal" >&2
  exit 2
fi
if ! cargo +nightly fuzz --version > /dev/null 2>&1; then
  echo "make fuzz: expected cargo-fuzz, found none; this gets it: cargo install cargo-fuzz --locked" >&2
  exit 2
fi

# The longest input, and the longest that is kept; the largest single allocation in MiB: decoders of xz and zstd may use 128.
limits() {
  case $1 in
    payload) length=24576 kept_length=2048 allocation=160 ;;
    header) length=32768 kept_length=6144 allocation=64 ;;
    dwarf) length=32768 kept_length=8192 allocation=512 ;;
    elf) length=32768 kept_length=4096 allocation=64 ;;
    formats) length=24576 kept_length=4096 allocation=260 ;;
    *) length=512 kept_length=512 allocation=32 ;;
  esac
}

fuzz() {
  local target=$1; shift
  cargo +nightly fuzz run --fuzz-dir fuzz "$target" "$@"
}

for target in $TARGETS; do
  limits "$target"
  kept=fuzz/corpus/$target found=var/fuzz/$target
  mkdir -p "$found"
  inputs=("$found" "$kept")
  [[ ! -d fuzz/regressions/$target ]] || inputs+=("fuzz/regressions/$target")
  bounds=(-max_len="$length" -malloc_limit_mb="$allocation" -rss_limit_mb=1024 -timeout=60)
  if [[ $what == corpus ]]; then
    smallest=var/fuzz/$target.smallest short=var/fuzz/$target.short
    rm -rf "$smallest" "$short" && mkdir -p "$smallest" "$short/kept" "$short/found"
    find "$kept" -type f -size "-$((kept_length + 1))c" -exec cp -t "$short/kept" {} +
    find "$found" -type f -size "-$((kept_length + 1))c" -exec cp -t "$short/found" {} +
    fuzz "$target" "$smallest" "$short/kept" "$short/found" -- -set_cover_merge=1 "${bounds[@]}"
    rm -rf "$short" "$kept" && mv "$smallest" "$kept"
    du -sh --apparent-size "$kept"
    continue
  fi
  echo "== $target: $FUZZ_SECONDS s"
  if ! fuzz "$target" "${inputs[@]}" -- "${bounds[@]}" -max_total_time="$FUZZ_SECONDS" -print_final_stats=1; then
    echo "make fuzz: $target: the newest of these inputs breaks what must hold, and fuzz/README.md says what to do with it:" >&2
    ls -t fuzz/artifacts/"$target"/* >&2
    exit 1
  fi
done
