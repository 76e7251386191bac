#!/usr/bin/env bash
# make fuzz: runs each of TARGETS for FUZZ_SECONDS, one after the other; ends with the first finding.
# make fuzz-corpus: adds the inputs that `make fuzz` found to fuzz/corpus, minimised.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "make fuzz: $1" >&2; exit 2; }

all='arch build_id deb dwarf elf filelists formats header legacy metalink nevra payload primary repomd source_path'
what=${1:?expected run or corpus} TARGETS=${TARGETS:-$all} FUZZ_SECONDS=${FUZZ_SECONDS:-600}
for target in $TARGETS; do
  [[ " $all " == *" $target "* ]] || fail "TARGETS: expected some of $all, found $target"
done
[[ $FUZZ_SECONDS =~ ^[1-9][0-9]*$ ]] || fail "FUZZ_SECONDS: expected a number from 1, found $FUZZ_SECONDS"
rustc +nightly --version > /dev/null 2>&1 ||
  fail 'expected a nightly Rust, found none; run rustup toolchain install nightly --profile minimal'
cargo +nightly fuzz --version > /dev/null 2>&1 ||
  fail 'expected cargo-fuzz, found none; run cargo install cargo-fuzz --locked'

# Maximum length of an input, and of one in the corpus; maximum of one allocation in MiB.
# Decoders of xz and zstd may use 128 MiB.
limits() {
  case $1 in
    payload) length=24576 kept_length=2048 allocation=160 ;;
    header) length=32768 kept_length=6144 allocation=64 ;;
    dwarf) length=32768 kept_length=8192 allocation=512 ;;
    elf) length=32768 kept_length=4096 allocation=64 ;;
    formats) length=24576 kept_length=4096 allocation=260 ;;
    arch) length=16384 kept_length=4096 allocation=160 ;;
    deb | filelists | legacy | metalink | primary | repomd) length=16384 kept_length=2048 allocation=64 ;;
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
    echo "make fuzz: $target: the newest of these inputs failed; fuzz/README.md describes the next steps:" >&2
    ls -t fuzz/artifacts/"$target"/* >&2
    exit 1
  fi
done
