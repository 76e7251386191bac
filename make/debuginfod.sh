#!/usr/bin/env bash
# Gets elfutils' debuginfod and debuginfod-find with `metadata` by path, pattern and build-id (0.195 or newer) into
# var/debuginfod, unless the machine has them. On Debian: packages of the unstable suite from the machine's mirror,
# unpacked into a directory and run with their own libraries. Nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
directory=var/debuginfod

fail() { echo "debuginfod.sh: $1: tests of metadata with a real client will fail" >&2; exit "${2:-0}"; }

# True if this debuginfod-find can ask for metadata by build-id.
knows() {
  local version
  version=$("$1" --version 2> /dev/null | sed -n '1s/.* 0\.\([0-9]*\).*/\1/p') && [[ ${version:-0} -ge 195 ]]
}

if knows debuginfod-find || knows $directory/debuginfod-find; then exit 0; fi
if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null; then
  fail "expected elfutils 0.195 or newer, or Debian's apt-get to get it"
fi
# Without those of -security and -updates.
mirror=$(
  apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' |
    sed -n 's/^\([^ ]*\) [a-z]*$/\1/p' | sed -n 1p
)
key=/usr/share/keyrings/debian-archive-keyring.gpg
if [[ -z ${mirror:-} || ! -f $key ]]; then
  fail "expected a mirror of Debian in apt's sources, found none"
fi

rm -rf $directory
mkdir -p $directory/apt/{lists,cache}/partial
apt=$PWD/$directory/apt
mkdir -p "$apt/cache/archives/partial"
: > "$apt/status"
echo "deb [signed-by=$key] $mirror unstable main" > "$apt/sources.list"
options=(
  -qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=-
  -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache"
  -o "Dir::State::status=$apt/status" -o APT::Sandbox::User=root -o Acquire::Languages=none
  -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Debug::NoLocking=true
)
echo "getting a newer debuginfod into $directory"
apt-get "${options[@]}" update
apt-get "${options[@]}" install -y --no-install-recommends --download-only debuginfod > /dev/null
for package in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$package" $directory/root; done
rm -rf "$apt"

libraries=$(cd $directory/root/usr/lib/*-linux-gnu* && pwd)
for program in debuginfod debuginfod-find; do
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' \
    "$(echo "$libraries"/ld-linux*.so.*)" "$libraries" "$PWD/$directory/root/usr/bin/$program" > $directory/$program
  chmod +x $directory/$program
done
knows $directory/debuginfod-find ||
  fail "expected elfutils 0.195 or newer, found $($directory/debuginfod-find --version | sed -n 1p)" 1
