#!/usr/bin/env bash
# make run: builds, indexes RPMS, serves on PORT, and prints what to try. Its files are below ./var.
set -euo pipefail
cd "$(dirname "$0")/.."

RPMS=${RPMS:-compat-tests/fixtures/rpms} PORT=${PORT:-8002} DATABASE=${DATABASE:-sqlite} PROFILE=${PROFILE:-release}
[[ -d $RPMS ]] || { echo "make run: RPMS: expected a directory, found $RPMS" >&2; exit 2; }
[[ $PORT =~ ^[0-9]+$ ]] || { echo "make run: PORT: expected a number, found $PORT" >&2; exit 2; }
in_use() { echo "make run: port $PORT of 127.0.0.1 is in use: choose another one, make run PORT=9000" >&2; exit 1; }
# Before the build, which takes minutes. The gateway detects it too, see below.
if (exec 3<> "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; then in_use; fi

export PROFILE
make/build.sh
[[ $PROFILE == dev ]] && built=debug || built=$PROFILE
bin=${CARGO_TARGET_DIR:-target}/$built
mkdir -p var

ended=() sockets=$(mktemp -d)
finish() {
  rm -rf "$sockets"
  for id in "${ended[@]}"; do
    kill "$id" 2> /dev/null || true
    wait "$id" 2> /dev/null || true
  done
}
trap finish EXIT
trap 'exit 130' INT TERM

case $DATABASE in
  sqlite) writer=sqlite:var/darkserver.db reader=$writer ;;
  mysql)
    make/install-tools.sh mysql
    # Sets writer, reader and mariadb_id.
    source make/mariadb.sh
    ended+=("$mariadb_id")
    ;;
  *) echo "make run: DATABASE: expected sqlite or mysql, found $DATABASE" >&2; exit 2 ;;
esac

DARKSERVER_DATABASE=$writer "$bin/darkserver-import" migrate
# A broken RPM is reported and the rest is served.
DARKSERVER_DATABASE=$writer "$bin/darkserver-import" dir "$RPMS" || [[ $? == 1 ]]

# The server that answers on the port may be another one. On a socket in a new directory only this gateway answers,
# and only once it listens on all its addresses.
DARKSERVER_DATABASE=$reader "$bin/darkserver" serve --listen "127.0.0.1:$PORT" --listen "unix:$sockets/gateway" \
  --cache-dir var/cache 2> >(tee "$sockets/log" >&2) &
gateway=$!
ended=("$gateway" "${ended[@]}")
url=http://127.0.0.1:$PORT answers=''
for _ in $(seq 300); do
  if curl -fs --unix-socket "$sockets/gateway" http://localhost/healthz > /dev/null 2>&1; then answers=yes; break; fi
  kill -0 "$gateway" 2> /dev/null || break
  sleep 0.1
done
if [[ -z $answers ]]; then
  # For the last lines of the log.
  sleep 0.2
  ! grep -q 'Address already in use' "$sockets/log" || in_use
  echo "make run: the gateway does not answer; its log above states the reason" >&2
  exit 1
fi

# A build-id to try: that of an executable, of the first package that has one.
id='' elf=''
while read -r rpm; do
  answer=$(curl -fs "$url/rpm2buildids/$(basename "$rpm")") || continue
  id=$(sed -n '/.*"buildid":"\([0-9a-f]*\)","elf":"[^"]*bin\/.*/{s//\1/p;q}' <<< "${answer//\},\{/$'\n'}")
  elf=$(basename "$rpm")
  [[ -z $id ]] || break
done < <(find "$RPMS" -name 'server-1.1-6*.rpm'; find "$RPMS" -name '*.rpm' ! -name '*-debug*' | sort)

cat << TEXT

darkserver answers at $url. Three things to try in another terminal, in this directory:

  curl -so var/program $url/buildid/${id:-BUILD-ID}/executable && chmod +x var/program &&
  DEBUGINFOD_URLS=$url gdb -q -iex 'set debuginfod enabled on' -ex run -ex backtrace -ex list var/program

  curl $url/buildids/${id:-BUILD-ID}

  curl $url/metrics

${elf:+The build-id is that of a program in $elf. }Ctrl-C ends it.
TEXT
if [[ $DATABASE == mysql ]]; then
  printf '\nThe index, for the statements of docs/operations.md:\n\n  %s\n' \
    "mariadb --no-defaults --socket=$data/run/socket --user=root darkserver"
fi
wait "$gateway"
