#!/bin/sh
# Renders the chart with every file of test/values and checks the results; see check.py for what is checked.
#
#   VENV=DIR     directory of the Python virtual environment, created if it does not exist, and kept.
#                Without it, a temporary one is created, unless python3 has the modules.
#   GO_LIBS=DIR  directory of the distribution's Go sources (default /usr/share/gocode)
#
# If helm is installed, it renders everything as well, and both results must agree.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/darkserver-chart.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

fail() {
    echo "helm/test: $1" >&2
    echo "0 passed, 1 failed"
    exit 1
}

# --- the renderer: Go and two of its libraries, as the distribution packages them
libs=${GO_LIBS:-/usr/share/gocode}
install_hint="install golang-go, golang-github-masterminds-sprig-dev and golang-k8s-sigs-yaml-dev (Debian, Ubuntu)"
install_hint="$install_hint, or on other systems helm"
renderer=
if command -v go >/dev/null 2>&1 &&
    [ -d "$libs/src/github.com/Masterminds/sprig" ] && [ -d "$libs/src/sigs.k8s.io/yaml" ]; then
    mkdir "$tmp/render"
    # Some distributions keep sprig under its major version.
    if [ -d "$libs/src/github.com/Masterminds/sprig/v3" ]; then
        sed 's|"github.com/Masterminds/sprig"|"github.com/Masterminds/sprig/v3"|' "$here/render.go" \
            >"$tmp/render/main.go"
    else
        cp "$here/render.go" "$tmp/render/main.go"
    fi
    [ -n "${HOME:-}" ] || export GOCACHE="$tmp/go-cache"
    (cd "$tmp/render" && GO111MODULE=off GOFLAGS='' GOPATH="$libs" go build -o "$tmp/render/render" main.go) ||
        fail "render.go does not build"
    renderer=$tmp/render/render
elif ! command -v helm >/dev/null 2>&1; then
    fail "nothing to render the chart with: $install_hint"
fi

# --- Python with the modules of requirements.txt
command -v python3 >/dev/null 2>&1 || fail "python3 is missing: install python3 and python3-venv"
has_modules() {
    "$1" -c 'import kubernetes_validate, jsonschema, yaml, sys
if sys.version_info < (3, 11): import tomli' >/dev/null 2>&1
}
if [ -z "${VENV:-}" ] && has_modules python3; then
    python=python3
else
    venv=${VENV:-$tmp/venv}
    python=$venv/bin/python
    if ! [ -x "$python" ]; then
        python3 -m venv "$venv" || fail "cannot make a virtual environment: install python3-venv"
    fi
    if ! has_modules "$python"; then
        "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
            fail "pip cannot install what requirements.txt names"
    fi
fi

RENDER=$renderer "$python" "$here/check.py"
