#!/usr/bin/env bash
# Rebuilds the fixture RPMs: `fixtures.sh check` compares them with the committed ones, `replace` replaces these.
set -euo pipefail
cd "$(dirname "$0")/../compat-tests/fixtures"
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
./build.sh "$built" > "$built.log" 2>&1 || { cat "$built.log" >&2; rm -f "$built.log"; exit 1; }
rm -f "$built.log"
case ${1:?expected check or replace} in
  check) ./compare.sh rpms "$built" ;;
  replace)
    rm -rf rpms && cp -r "$built" rpms
    ./truth.sh --write
    ;;
  *) echo "fixtures.sh: expected check or replace, found $1" >&2; exit 2 ;;
esac
