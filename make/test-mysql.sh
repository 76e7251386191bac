#!/usr/bin/env bash
# make test-mysql: runs the tests of the index, the indexer and the gateway on MySQL's server (MYSQLD), not MariaDB's.
set -euo pipefail
cd "$(dirname "$0")/.."

export MYSQLD=${MYSQLD:-mysqld} PATH=$PATH:/usr/sbin:/usr/libexec
if ! version=$("$MYSQLD" --version 2> /dev/null) || [[ $version == *MariaDB* ]]; then
  echo "make test-mysql: MYSQLD: expected MySQL's server, found ${version:-none} at $MYSQLD" >&2
  exit 2
fi
echo "$version"
unset DEBUGINFOD_URLS
export PATH=$PWD/make/mysql:$PATH
cargo build --workspace --bins --locked
cargo test --locked -p sql -p indexer
# A cluster of Galera is MariaDB's.
cargo test --locked -p compat-tests --test json_api --test metadata --test unavailable --test faults --test filter \
  -- --skip galera
