#!/usr/bin/env bash
# make install: installs programs, units of systemd, the sample for nginx and the documents below DESTDIR/PREFIX.
# Documents are where they are in the repository, so that their links to each other work.
# Builds the programs first, unless Cargo is missing (as for root): then `make build` has to have built them.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "make install: $1" >&2; exit 2; }

PREFIX=${PREFIX:-/usr/local} DESTDIR=${DESTDIR:-} PROFILE=${PROFILE:-release}
for name in PREFIX DESTDIR; do
  [[ -z ${!name} || ${!name} == /* ]] || fail "$name: expected an absolute path, found ${!name}"
done

[[ $PROFILE == dev ]] && built=debug || built=$PROFILE
built=${CARGO_TARGET_DIR:-target}/$built
programs=(darkserver darkserver-import darkclient)
if command -v cargo > /dev/null; then
  make/build.sh
fi
for program in "${programs[@]}"; do
  [[ -x $built/$program ]] || fail "expected $built/$program, found none; run make build first"
done

root=$DESTDIR$PREFIX
documents=$root/share/doc/darkserver
install -d "$root/bin" "$root/lib/systemd/system" "$root/lib/sysusers.d"
for program in "${programs[@]}"; do install -m 755 "$built/$program" "$root/bin/"; done
for unit in packaging/systemd/*.{service,socket,timer}; do
  sed "s|/usr/local/|$PREFIX/|g" "$unit" | install -m 644 /dev/stdin "$root/lib/systemd/system/${unit##*/}"
done
install -m 644 packaging/systemd/darkserver.sysusers "$root/lib/sysusers.d/darkserver.conf"
for file in docs/*.{md,toml} docs/adr/*.md packaging/README.md packaging/nginx/*.conf \
  packaging/koji-plugin/{*.*,darkserver-koji-flush} helm/README.md bench/results/*.md sql/createtable.sql; do
  install -D -m 644 "$file" "$documents/$file"
done
echo "installed ${programs[*]} below $root; $documents/docs/operations.md describes the next steps"
