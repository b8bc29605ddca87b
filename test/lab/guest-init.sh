#!/bin/sh
# First process of the guest: what an init would mount, the modules that udev would load, then the commands of the test.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
# The program starts in a third of the time when what was compiled is kept.
export NODE_COMPILE_CACHE=/tmp/compiled
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
for module in $(cat /guest/modules); do modprobe "$module"; done
ip link set lo up
stty -F /dev/ttyS1 raw -echo
/usr/lib/mailtwin/bin/node /guest/commands.ts
echo o > /proc/sysrq-trigger
sleep 60
