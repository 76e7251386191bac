#!/usr/bin/env bash
# Gets elfutils' debuginfod and debuginfod-find with `metadata` by path, pattern and build-id (0.195 or newer) into var/debuginfod, unless the
# machine has them: on Debian, packages of the unstable suite from the machine's own mirror, unpacked into a folder and run with their
# own libraries. Nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=var/debuginfod

knows() { # does this debuginfod-find ask for metadata by build-id?
  local version
  version=$("$1" --version 2> /dev/null | sed -n '1s/.* 0\.\([0-9]*\).*/\1/p') && [[ ${version:-0} -ge 195 ]]
}

if knows debuginfod-find || knows $folder/debuginfod-find; then exit 0; fi
if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null; then
  echo "debuginfod.sh: expected elfutils 0.195 or newer, or Debian's apt-get to get it: tests with a client that knows metadata will fail" >&2
  exit 0
fi
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' |
  sed -n 's/^\([^ ]*\) [a-z]*$/\1/p' | sed -n 1p) # not those of -security and -updates
key=/usr/share/keyrings/debian-archive-keyring.gpg
if [[ -z ${mirror:-} || ! -f $key ]]; then
  echo "debuginfod.sh: expected a mirror of Debian in apt's sources, found none: tests with a client that knows metadata will fail" >&2
  exit 0
fi

rm -rf $folder
mkdir -p $folder/apt/{lists,cache}/partial
apt=$PWD/$folder/apt
mkdir -p "$apt/cache/archives/partial"
: > "$apt/status"
echo "deb [signed-by=$key] $mirror unstable main" > "$apt/sources.list"
options=(
  -qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache"
  -o "Dir::State::status=$apt/status" -o APT::Sandbox::User=root -o Acquire::Languages=none
  -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Debug::NoLocking=true
)
echo "getting a newer debuginfod into $folder"
apt-get "${options[@]}" update
apt-get "${options[@]}" install -y --no-install-recommends --download-only debuginfod > /dev/null
for package in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$package" $folder/root; done
rm -rf "$apt"

libraries=$(cd $folder/root/usr/lib/*-linux-gnu* && pwd)
for program in debuginfod debuginfod-find; do
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' \
    "$(echo "$libraries"/ld-linux*.so.*)" "$libraries" "$PWD/$folder/root/usr/bin/$program" > $folder/$program
  chmod +x $folder/$program
done
knows $folder/debuginfod-find || { echo "debuginfod.sh: expected elfutils 0.195 or newer, found $($folder/debuginfod-find --version | sed -n 1p)" >&2; exit 1; }
