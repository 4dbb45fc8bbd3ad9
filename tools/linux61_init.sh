#!/bin/bash
# What Linux 6.1 runs as its first and only program, see linux61.ts: makes a
# system of the host's files, which it cannot change, and runs KIO_FOLDER/command
# in it.
set -u
exec </dev/null
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
# As insmod does, which not everybody has: finit_module(2).
modules=$KIO_MODULES/$(uname -r)/kernel
for module in lib/crc-ccitt net/ipv6/ipv6; do
  perl -e 'open my $file, "<", shift or die $!; my $none = "";
    syscall(313, fileno $file, $none, 0) == 0 or die $!' "$modules/$module.ko"
done
ip link set lo up
# The tests take more than there is, of which they use little.
echo 1 >/proc/sys/vm/overcommit_memory

# A file system of its own for /tmp, with what is needed of the host's.
mount -t ext4 /dev/ubda /mnt
chmod 1777 /mnt
for path in "$KIO_ROOT" "$KIO_FOLDER" "$KIO_DENO_DIR"; do
  [[ $path == /tmp/* ]] || continue
  mkdir -p "/mnt/${path#/tmp/}"
  mount --bind "$path" "/mnt/${path#/tmp/}"
done
mount --move /mnt /tmp
mount -t tmpfs run /run
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
# There is no network to ask for names.
echo "hosts: files" >/run/nsswitch.conf
mount --bind /run/nsswitch.conf /etc/nsswitch.conf

# What Deno has of packages and of modules that are compiled already.
export HOME=/run/home DENO_DIR=/run/deno NO_COLOR=1 DENO_NO_UPDATE_CHECK=1
mkdir -p "$HOME" "$DENO_DIR"
ln -s "$KIO_DENO_DIR/npm" "$KIO_DENO_DIR/gen" "$DENO_DIR"

cd "$KIO_ROOT" && bash "$KIO_FOLDER/command"
halt -f
