#!/usr/bin/env bash
# make build: builds the three programs (PROFILE).
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo build --locked -p gateway -p indexer -p client --bins --profile "${PROFILE:-release}"
