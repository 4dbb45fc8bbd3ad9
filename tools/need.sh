#!/bin/sh
# Installs what a task needs, on Debian: tools/need.sh COMMAND[:PACKAGE] ...
# COMMAND is a name, or a path that may have a *. Its package has the same name,
# unless it is given.
packages=
for need; do
  command=${need%%:*}
  for found in $command; do break; done
  command -v "$found" >/dev/null || packages="$packages ${need##*:}"
done
[ -z "$packages" ] && exit
# No server is to start: a test starts its own.
export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # Several words are several packages.
exec apt-get install -y -qq --no-install-recommends $packages
