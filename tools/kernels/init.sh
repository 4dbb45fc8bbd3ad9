#!/usr/bin/busybox sh
# shellcheck shell=dash
#
# What a guest runs as its first program, see image.ts: makes a system of what its
# archive has, and runs /command in it.
/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/bin HOME=/root DENO_DIR=/deno NO_COLOR=1 DENO_NO_UPDATE_CHECK=1
mkdir -p /proc /sys /dev /tmp /run /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
ln -sf /proc/self/fd /dev/fd
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
for module in /modules/*.ko; do insmod "$module" || echo "without $module"; done
ip link set lo up
# The tests take more than there is, of which they use little.
echo 1 >/proc/sys/vm/overcommit_memory
# The checkout may be in /tmp: then the disk has to have it.
mkdir /mnt
mount -t ext4 /dev/vda /mnt
cp -a /tmp/. /mnt
mount -o move /mnt /tmp
chmod 1777 /tmp
echo "kio: Linux $(uname -r) after $(cut -d " " -f 1 /proc/uptime) s"
sh /command </dev/null
dmesg | grep -E 'BUG:|WARNING:|Oops|general protection fault'
echo "kio: ended"
poweroff -f
