#!/usr/bin/env bash
# Makes var/python-venv, the Python environment of the tests, from compat-tests/python/requirements.txt. It is made
# again only if that file or the interpreter has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
directory=$PWD/var/python-venv
requirements=compat-tests/python/requirements.txt

fail() { echo "python.sh: $1" >&2; exit 1; }

mkdir -p var
exec 9> var/python-venv.lock
flock 9

interpreter=
for candidate in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
  if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    interpreter=$candidate
    break
  fi
done
[[ -n $interpreter ]] || fail 'expected Python 3.11 or newer with the module venv, found none'

# The version of the interpreter and the checksum of the requirements.
state=$("$interpreter" -c 'import sys; print(sys.executable, *sys.version_info[:2])')
state+=" $(sha256sum < $requirements)"
if [[ $(cat "$directory/state" 2> /dev/null) == "$state" ]] && "$directory/bin/python" -c 'import koji' 2> /dev/null
then
  exit 0
fi

echo "making the Python environment of the tests in var/python-venv"
rm -rf "$directory"
"$interpreter" -m venv "$directory" || fail 'cannot make a virtual environment'
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  -r $requirements || fail "pip cannot install what $requirements names"
"$directory/bin/python" -c 'import koji.plugin, koji_cli.lib, fedora_messaging.api, bodhi.messages.schemas.update
import koji_fedoramessaging_messages.build' || fail "$requirements does not name everything that is imported"
echo "$state" > "$directory/state"
