#!/usr/bin/env bash
# Installs what is missing of the programs that a target needs: `install-tools.sh test`, `bench` or `mysql`.
# Only missing programs are installed, by the distribution's package manager (Debian, Ubuntu, Fedora and relatives).
# For tests, it also makes the Python environment (make/python.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

# program, package on Debian, package on Fedora
mysql='
mariadbd mariadb-server-core mariadb-server
mariadb mariadb-client mariadb
'
test="$mysql
cc gcc gcc
curl curl curl
openssl openssl openssl
systemd-socket-activate systemd systemd
python3 python3 python3
rpmbuild rpm rpm-build
find-debuginfo debugedit debugedit
dwz dwz dwz
file file file
eu-readelf elfutils elfutils
debuginfod debuginfod elfutils-debuginfod
debuginfod-find debuginfod elfutils-debuginfod-client
gdb gdb gdb
evmctl ima-evm-utils ima-evm-utils
rpm rpm rpm
objcopy binutils binutils
bsdtar libarchive-tools bsdtar
nginx nginx-light nginx
sqlite3 sqlite3 sqlite
systemd-analyze systemd systemd
systemd-sysusers systemd systemd
dpkg-deb dpkg dpkg
cpio cpio cpio
zstd zstd zstd
xz xz-utils xz
bzip2 bzip2 bzip2
createrepo_c createrepo-c createrepo_c
dnf dnf dnf
rpmsign rpm rpm-sign
gpg gpg gnupg2
gpgv gpgv gnupg2
dpkg-scanpackages dpkg-dev dpkg-dev
chromium chromium chromium
rabbitmq-server rabbitmq-server rabbitmq-server
"

bench="$test
wrk wrk wrk
"

group=${1:?expected a group of programs: test, bench or mysql}
if [[ ! $group =~ ^(test|bench|mysql)$ ]]; then
  echo "install-tools.sh: expected test, bench or mysql, found $group" >&2
  exit 2
fi

have() { command -v "$1" > /dev/null || [[ -x /usr/sbin/$1 || -x /usr/libexec/$1 ]]; }

manager=
if command -v apt-get > /dev/null; then manager=apt; elif command -v dnf > /dev/null; then manager=dnf; fi
packages=()
programs=()
while read -r program debian fedora; do
  [[ -n $program ]] || continue
  have "$program" && continue
  programs+=("$program")
  if [[ $manager == dnf ]]; then packages+=("$fedora"); else packages+=("$debian"); fi
done <<< "${!group}"

# A library: no program shows whether it is installed.
if [[ $group != mysql ]] && ! compgen -G '/usr/lib*/galera*/libgalera_smm.so' > /dev/null; then
  if [[ $manager == dnf ]]; then packages+=(galera); else packages+=(galera-4); fi
  programs+=(libgalera_smm.so)
fi

# LLVM's client has the release in its name on Debian.
if [[ $group == test ]] && ! compgen -G '/usr/bin/llvm-debuginfod-find*' > /dev/null; then
  packages+=(llvm)
  programs+=(llvm-debuginfod-find)
fi

# The chart is rendered by helm where there is one, else by a small Go program.
go_packages=/usr/share/gocode/src
if [[ $group == test ]] && ! have helm; then
  if [[ $manager == dnf ]]; then
    packages+=(helm); programs+=(helm)
  elif ! have go || [[ ! -d $go_packages/github.com/Masterminds/sprig || ! -d $go_packages/sigs.k8s.io/yaml ]]; then
    packages+=(golang-go golang-github-masterminds-sprig-dev golang-k8s-sigs-yaml-dev); programs+=(go)
  fi
fi
if [[ $group == test ]] && ! python3 -c 'import ensurepip, venv' 2> /dev/null; then
  packages+=(python3-venv); programs+=("python3 -m venv")
fi

[[ $group != test ]] || make/debuginfod.sh
if [[ ${#packages[@]} -gt 0 ]]; then
  if [[ -z $manager ]]; then
    echo "install-tools.sh: expected apt-get or dnf to install ${programs[*]}, found neither" >&2
    exit 1
  fi
  root=()
  if [[ $(id -u) != 0 ]]; then
    if ! command -v sudo > /dev/null; then
      echo "install-tools.sh: expected root or sudo to install ${programs[*]}, found neither" >&2
      exit 1
    fi
    root=(sudo)
  fi
  echo "installing: ${packages[*]}"
  # Debian starts servers when it installs them, and at each boot: RabbitMQ on all interfaces. The tests start their own
  # on loopback, so that of the package stays off: a policy denies its start, then it is disabled.
  keep_off=
  if [[ $manager == apt && " ${packages[*]} " == *" rabbitmq-server "* ]]; then
    keep_off=yes
    policy=/usr/sbin/policy-rc.d
    # One that exists is the machine's own, as in containers, where it denies all starts.
    if [[ ! -e $policy ]]; then
      trap '"${root[@]}" rm -f "$policy"' EXIT
      printf '#!/bin/sh\ncase $1 in rabbitmq-server | epmd*) exit 101 ;; esac\n' | "${root[@]}" tee $policy > /dev/null
      "${root[@]}" chmod 755 $policy
    fi
  fi
  case $manager in
    apt)
      "${root[@]}" apt-get update -qq
      "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
      ;;
    dnf) "${root[@]}" dnf install -y -q "${packages[@]}" ;;
  esac
  if [[ -n $keep_off ]]; then
    "${root[@]}" update-rc.d rabbitmq-server disable
    # Erlang's daemon, of a package that RabbitMQ needs, listens on all interfaces, too.
    if command -v systemctl > /dev/null; then
      "${root[@]}" systemctl --quiet disable rabbitmq-server epmd.service epmd.socket
    fi
  fi
fi
[[ $group != test ]] || make/python.sh
