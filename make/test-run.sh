#!/usr/bin/env bash
# `make run` does what it says, on both databases: starts, prints things to try that work, ends with a signal.
set -euo pipefail
cd "$(dirname "$0")/.."

try() {
  local database=$1 port=$2 log shown id
  log=$(mktemp)
  PROFILE=dev PORT=$port DATABASE=$database setsid make/run.sh > "$log" 2>&1 &
  run=$!
  for _ in $(seq 600); do
    grep -q 'Three things to try' "$log" && grep -q 'Ctrl-C' "$log" && break
    kill -0 "$run" 2> /dev/null || { cat "$log"; echo "make run DATABASE=$database ended" >&2; return 1; }
    sleep 0.2
  done
  shown=$(grep -o "curl http://127.0.0.1:$port/buildids/[0-9a-f]*" "$log") || { cat "$log"; return 1; }
  id=${shown##*/}
  # Whole answers first: a reader that has seen enough and ends would make the writer, and with it the pipeline, fail.
  $shown -fsS > "$answer"
  grep -q "\"buildid\":\"$id\"" "$answer" || { cat "$log"; echo "expected a record of $id, found: $(cat "$answer")" >&2; return 1; }
  curl -fsS "http://127.0.0.1:$port/buildid/$id/executable" > "$answer"
  [[ $(od -An -c -N 4 "$answer" | tr -d ' ') == '177ELF' ]] || { cat "$log"; echo "expected an ELF file, found $(wc -c < "$answer") bytes of something else" >&2; return 1; }
  # The second thing to try, as it is printed, but not waiting for a person; GDB must know function, file and line.
  local debug
  debug=$(sed -n '/^  curl -so/,/var\/program$/p' "$log" | sed 's/gdb -q/gdb -q -batch/')
  DEBUGINFOD_CACHE_PATH=$cache bash -c "$debug" > "$answer" 2>&1 || true # the program crashes
  grep -q 'crash_in_1_1_6 .* at worker/crash.c:' "$answer" || { cat "$log" "$answer"; echo "expected a backtrace of: $debug" >&2; return 1; }
  curl -fsS "http://127.0.0.1:$port/metrics" > "$answer"
  grep -q '^gateway_build_info' "$answer" || { cat "$log" "$answer"; echo "expected gateway_build_info" >&2; return 1; }
  kill -TERM "$run"
  wait "$run" || true
  run=''
  if curl -fs "http://127.0.0.1:$port/healthz" > /dev/null 2>&1; then echo "expected the gateway to have ended" >&2; return 1; fi
  rm -f "$log"
  echo "make run DATABASE=$database: ok"
}

# A port in use is named, early or when the gateway is refused it, and nothing is printed of a server that is not ours.
try_in_use() {
  local port=$1 when=$2 log status=0
  log=$(mktemp)
  PROFILE=dev PORT=$port DATABASE=sqlite timeout -k 10 300 setsid make/run.sh > "$log" 2>&1 || status=$?
  [[ $status == 1 ]] || { cat "$log"; echo "$when: expected exit status 1, found $status" >&2; return 1; }
  grep -q "make run: port $port of 127.0.0.1 is in use: choose another one, make run PORT=" "$log" || { cat "$log"; return 1; }
  if grep -q 'darkserver answers' "$log"; then cat "$log"; echo "$when: expected no word of a server that answers" >&2; return 1; fi
  if [[ $when == early ]] && grep -q 'Finished' "$log"; then cat "$log"; echo "expected no build before it" >&2; return 1; fi
  rm -f "$log"
  echo "make run PORT=$port, in use ($when): ok"
}

cache=$(mktemp -d)
answer=$(mktemp)
run='' other='' holder=''
trap 'for id in $run $other $holder; do kill -TERM "$id" 2> /dev/null || true; done; rm -rf "$cache" "$answer"' EXIT
# Ports that nobody uses now.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1] // 2 + 10000)')
# Somebody else's server answers there; the second one has the port without listening on it, so that only the gateway finds out.
python3 -m http.server --bind 127.0.0.1 "$((port + 1))" > "$cache/other" 2>&1 &
other=$!
python3 -c 'import socket, sys, time; s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); time.sleep(600)' "$((port + 2))" &
holder=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$((port + 1))/" > /dev/null && break; sleep 0.1; done
try_in_use "$((port + 1))" early
try_in_use "$((port + 2))" late
kill "$other" "$holder"
other='' holder=''
try sqlite "$port"
try mysql "$port"
