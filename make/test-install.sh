#!/usr/bin/env bash
# `make install` installs programs that run, units that name them, and every file that packaging/README.md lists.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "make install: $1" >&2; exit 1; }

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
PROFILE=dev make --no-print-directory install PREFIX=/opt/darkserver DESTDIR="$directory" > "$directory/log" 2>&1 \
  || { cat "$directory/log" >&2; fail 'expected exit status 0'; }
root=$directory/opt/darkserver
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
for program in darkserver darkserver-import darkclient; do
  found=$("$root/bin/$program" --version)
  [[ $found == *"$version"* ]] || fail "$program --version: expected $version, found $found"
done
(cd packaging/systemd && ls ./*.service ./*.socket ./*.timer) | while read -r unit; do
  [[ -f $root/lib/systemd/system/$unit ]] || fail "expected the unit $unit, found none"
done
units=$root/lib/systemd/system
if grep -r /usr/local "$units"; then fail 'expected units without /usr/local'; fi
grep -q '^ExecStart=/opt/darkserver/bin/darkserver$' "$units/darkserver.service" ||
  fail 'expected the path of darkserver in its unit'
documents=share/doc/darkserver
for file in lib/sysusers.d/darkserver.conf \
  "$documents"/{packaging/nginx/darkserver.conf,packaging/koji-plugin/darkserver.py,docs/configuration.md}; do
  [[ -s $root/$file ]] || fail "expected the file $file, found none"
done
sed -n 's|^Documentation=file:||p' "$units"/*.service | while read -r file; do
  [[ -s $directory$file ]] || fail "expected the document $file of a unit, found none"
done
# Links to other documents lead to installed files.
(cd "$root/$documents" && grep -roE --include='*.md' '\]\([^)#: ]+[)#]' .) | sed 's|:\](|\t|; s|[)#]$||' |
  while IFS=$'\t' read -r document link; do
    [[ -e $root/$documents/${document%/*}/$link ]] || fail "expected $link, to which $document links, found none"
  done
outside=$(find "$directory" -type f ! -path "$root/*" ! -name log)
[[ -z $outside ]] || fail "expected no file outside of PREFIX, found $outside"

# A relative path would end up in the working directory.
status=0
PROFILE=dev PREFIX=relative make/install.sh > "$directory/log" 2>&1 || status=$?
if [[ $status != 2 ]] || ! grep -q 'PREFIX: expected an absolute path' "$directory/log"; then
  cat "$directory/log" >&2
  fail "PREFIX=relative: expected exit status 2, found $status"
fi
echo 'make install: ok'
