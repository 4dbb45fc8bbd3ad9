#!/usr/bin/env bash
# Brings a machine to where `deno task demo` and `deno task test` work: a C
# compiler, the headers of liburing, Deno, and the library built from ffi/shim/.
# Installs only what is missing, and says nothing when that is nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly DENO_MAJOR=2 DENO_MINOR=9
readonly DENO_HELP=https://docs.deno.com/runtime/

# Each argument is a line.
fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

compiles() {
  printf '#include <%s>\n' "$1" |
    "${CC:-cc}" -fsyntax-only -x c - >/dev/null 2>&1
}

# What is missing for the build, as packages of Debian.
missing_packages() {
  command -v "${CC:-cc}" >/dev/null || echo gcc
  compiles stdio.h || echo libc6-dev
  compiles liburing.h || echo liburing-dev
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    fail "Cannot install packages here: this is not Debian. Install them by:" \
      "  Fedora:  dnf install gcc glibc-devel liburing-devel" \
      "  Arch:    pacman -S gcc liburing" \
      "  Alpine:  apk add gcc musl-dev liburing-dev linux-headers" \
      "and run this again."
  fi
  if [ "$(id -u)" -ne 0 ]; then
    fail "Cannot install packages without being root. Run:" \
      "  sudo apt-get update && sudo apt-get install -y $*" \
      "and then this again."
  fi
  echo "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || fail "Cannot update the list of packages."
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    fail "Cannot install $*."
}

# Whether there is a Deno, and it is not too old.
has_deno() {
  local version major minor
  version=$(deno --version 2>/dev/null | awk 'NR == 1 { print $2 }') || return
  IFS=. read -r major minor _ <<<"$version"
  [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] || return
  ((major > DENO_MAJOR || (major == DENO_MAJOR && minor >= DENO_MINOR)))
}

install_deno() {
  local prefix problem
  if ! command -v npm >/dev/null; then
    fail "Cannot install Deno $DENO_MAJOR.$DENO_MINOR or later: there is no npm." \
      "Get it from $DENO_HELP and run this again."
  fi
  prefix=$(npm prefix -g 2>/dev/null)
  if [ ! -w "$prefix" ]; then
    fail "Cannot install Deno: no write access to $prefix. Run:" \
      "  sudo npm install -g deno" \
      "or get it from $DENO_HELP, and run this again."
  fi
  echo "installing Deno"
  # The install script of the package only moves a file, so it does not matter
  # whether npm runs it.
  problem=$(npm install -g deno 2>&1) ||
    fail "Cannot install Deno:" "$problem" "Another way: $DENO_HELP"
  hash -r
  has_deno || fail \
    "Deno was installed in $prefix/bin, but what the PATH has is:" \
    "  $(command -v deno || echo nothing) $(deno --version 2>&1 | head -n 1)" \
    "Put that folder first in the PATH and run this again."
}

mapfile -t packages < <(missing_packages)
((${#packages[@]} == 0)) || install_packages "${packages[@]}"
has_deno || install_deno
deno task -q build
