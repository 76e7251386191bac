#!/usr/bin/env bash
# Runs MYSQLD without the options that MariaDB alone knows.
options=(--no-defaults --secure-file-priv=)
for option in "$@"; do
  case $option in
    --no-defaults | --auth-root-authentication-method=* | --skip-test-db | --innodb-log-file-size=*) ;;
    *) options+=("$option") ;;
  esac
done
exec "$MYSQLD" "${options[@]}"
