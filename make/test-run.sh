#!/usr/bin/env bash
# `make run` starts on both databases, prints things to try that work, and ends with a signal.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { cat "$log"; echo "make run: $1" >&2; exit 1; }

try() {
  local database=$1 port=$2 log shown id
  log=$(mktemp)
  PROFILE=dev PORT=$port DATABASE=$database setsid make/run.sh > "$log" 2>&1 &
  run=$!
  for _ in $(seq 600); do
    grep -q 'Three things to try' "$log" && grep -q 'Ctrl-C' "$log" && break
    kill -0 "$run" 2> /dev/null || fail "DATABASE=$database: ended"
    sleep 0.2
  done
  shown=$(grep -o "curl http://127.0.0.1:$port/buildids/[0-9a-f]*" "$log") || fail 'expected a request to try'
  id=${shown##*/}
  # Whole answers first: a reader that ends early makes the writer, and with it the pipeline, fail.
  $shown -fsS > "$answer"
  grep -q "\"buildid\":\"$id\"" "$answer" || fail "expected a record of $id, found $(cat "$answer")"
  curl -fsS "http://127.0.0.1:$port/buildid/$id/executable" > "$answer"
  [[ $(od -An -c -N 4 "$answer" | tr -d ' ') == '177ELF' ]] ||
    fail "expected an ELF file, found $(wc -c < "$answer") bytes of another kind"
  # The second thing to try as printed, in batch mode; GDB must show function, file and line.
  local debug
  debug=$(sed -n '/^  curl -so/,/var\/program$/p' "$log" | sed 's/gdb -q/gdb -q -batch/')
  DEBUGINFOD_CACHE_PATH=$cache bash -c "$debug" > "$answer" 2>&1 || true # the program crashes
  grep -q 'crash_in_1_1_6 .* at worker/crash.c:' "$answer" || { cat "$answer"; fail "expected a backtrace of: $debug"; }
  curl -fsS "http://127.0.0.1:$port/metrics" > "$answer"
  grep -q '^gateway_build_info' "$answer" || { cat "$answer"; fail 'expected gateway_build_info'; }
  kill -TERM "$run"
  wait "$run" || true
  run=''
  if curl -fs "http://127.0.0.1:$port/healthz" > /dev/null 2>&1; then fail 'expected the gateway to have ended'; fi
  rm -f "$log"
  echo "make run DATABASE=$database: ok"
}

# An address in use is reported, before the build or by the gateway. The other server's answers are ignored.
try_in_use() {
  local port=$1 when=$2 log status=0
  log=$(mktemp)
  PROFILE=dev PORT=$port DATABASE=sqlite timeout -k 10 300 setsid make/run.sh > "$log" 2>&1 || status=$?
  [[ $status == 1 ]] || fail "$when: expected exit status 1, found $status"
  grep -q "make run: port $port of 127.0.0.1 is in use: choose another one, make run PORT=" "$log" ||
    fail "$when: expected a message about the port"
  if grep -q 'darkserver answers' "$log"; then fail "$when: expected no message about a server that answers"; fi
  if [[ $when == early ]] && grep -q 'Finished' "$log"; then fail "$when: expected no build before the message"; fi
  rm -f "$log"
  echo "make run PORT=$port, in use ($when): ok"
}

cache=$(mktemp -d)
answer=$(mktemp)
run='' other='' holder=''
trap 'for id in $run $other $holder; do kill -TERM "$id" 2> /dev/null || true; done; rm -rf "$cache" "$answer"' EXIT
# Unused ports.
any_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1] // 2 + 10000)'
port=$(python3 -c "$any_port")
# Another server answers on the first. The second is bound but does not listen, so that only the gateway detects it.
python3 -m http.server --bind 127.0.0.1 "$((port + 1))" > "$cache/other" 2>&1 &
other=$!
bind='import socket, sys, time; s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); time.sleep(600)'
python3 -c "$bind" "$((port + 2))" &
holder=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$((port + 1))/" > /dev/null && break; sleep 0.1; done
try_in_use "$((port + 1))" early
try_in_use "$((port + 2))" late
kill "$other" "$holder"
other='' holder=''
try sqlite "$port"
try mysql "$port"
