# Sourced by run.sh: a private MariaDB with its data, socket and port of its own, not as root.
# Sets `writer` and `reader` (database URLs of two users: one with all rights, one with SELECT) and `mariadb_id`.
PATH=$PATH:/usr/sbin:/usr/libexec

data=$PWD/var/mariadb
own=()
if [[ $(id -u) == 0 ]]; then
  user=nobody
  getent passwd mysql > /dev/null && user=mysql
  own=("--user=$user")
  mkdir -p "$data"
  # Another user cannot reach a checkout below a home directory of mode 0700.
  if ! chown "$user" "$data" || ! setpriv --reuid "$user" --clear-groups test -w "$data" 2> /dev/null; then
    data=/var/tmp/darkserver-mariadb
    mkdir -p "$data" && chown "$user" "$data"
    echo "the database's data are in $data"
  fi
fi
mkdir -p "$data/run"
[[ $(id -u) != 0 ]] || chown -R "$user" "$data"
if [[ ! -d $data/data/mysql ]]; then
  mariadb-install-db --no-defaults "${own[@]}" --datadir="$data/data" --tmpdir="$data/run" \
    --auth-root-authentication-method=normal --skip-test-db > "$data/install.log" 2>&1 \
    || { cat "$data/install.log" >&2; exit 1; }
fi
mariadb_port=$((PORT + 1))
mariadbd --no-defaults "${own[@]}" --datadir="$data/data" --tmpdir="$data/run" \
  --socket="$data/run/socket" --pid-file="$data/run/pid" --bind-address=127.0.0.1 --port="$mariadb_port" \
  --skip-name-resolve --innodb-flush-log-at-trx-commit=2 > "$data/log" 2>&1 &
mariadb_id=$!
sql() { mariadb --no-defaults --socket="$data/run/socket" --user=root "$@"; }
for _ in $(seq 300); do
  kill -0 "$mariadb_id" 2> /dev/null || { cat "$data/log" >&2; echo "make run: MariaDB ended" >&2; exit 1; }
  sql -e 'select 1' > /dev/null 2>&1 && break
  sleep 0.1
done
password=$(head -c 18 /dev/urandom | base64 | tr '+/' 'ab')
sql << SQL
create database if not exists darkserver character set utf8mb4 collate utf8mb4_bin;
create or replace user darkserver_writer@'127.0.0.1' identified by '$password';
create or replace user darkserver_reader@'127.0.0.1' identified by '$password';
grant all on darkserver.* to darkserver_writer@'127.0.0.1';
grant select on darkserver.* to darkserver_reader@'127.0.0.1';
SQL
writer=mysql://darkserver_writer:$password@127.0.0.1:$mariadb_port/darkserver
reader=mysql://darkserver_reader:$password@127.0.0.1:$mariadb_port/darkserver
