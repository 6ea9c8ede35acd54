#!/bin/busybox sh
# The guest's first process: makes the machine that the root tests expect, runs what /vm/runs
# lists, and reports on the second serial line, where the kernel's own messages cannot cut in.
# Each line of /vm/runs is a backend and the filters of its tests. Ends with one `init:` line.

/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LC_ALL=C.UTF-8

mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /proc /sys /tmp /run /var/run
mount -t proc proc /proc
mount -t sysfs sys /sys
exec >/dev/ttyS1 2>&1 </dev/null
stty -F /dev/ttyS1 raw -echo

fail() {
  echo "init: failure $*"
  sync
  poweroff -f
}

mount -t devpts devpts /dev/pts || fail "devpts cannot be mounted"
# Not a file system of its own: the checkout that the tests name by its path may lie there.
chmod 1777 /tmp
mount -t tmpfs run /run || fail "/run cannot be mounted"
mount -t cgroup2 cgroup /sys/fs/cgroup || fail "cgroup2 cannot be mounted"
mount -t bpf bpf /sys/fs/bpf || fail "bpffs cannot be mounted"

# In an order in which each finds what it needs.
while read -r module; do
  insmod "/vm/modules/$module" || fail "module $module cannot be loaded"
done </vm/modules/order
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
# Debian's own 3 asks for CAP_SYS_ADMIN; 2 is what every other kernel begins with.
echo 2 >/proc/sys/kernel/perf_event_paranoid
ip link set lo up || fail "lo does not come up"

echo "vm: kernel $(uname -r) up $(cut -d' ' -f1 /proc/uptime)"

if [ -e /vm/shell ]; then
  exec setsid cttyhack sh </dev/ttyS0 >/dev/ttyS0 2>&1
fi

if [ -e /vm/bench ]; then
  # Arguments are words on purpose.
  /vm/xtask bench $(cat /vm/bench) --program /vm/tcp-trace --json /tmp/figures
  code=$?
  [ -e /tmp/figures ] && echo "vm: figures $(tr -d '\n' </tmp/figures)"
  echo "vm: bench ends with $code"
  echo "init: success"
  sync
  poweroff -f
fi

echo "vm: doctor begins"
/vm/tcp-trace doctor --json
echo "vm: doctor ends with $?"

# Wireshark's and promtool's words are taken on the host, where they are, and so is what Python, Node,
# Java, nginx and gcc do: they would not fit in here.
skipped='--skip tshark:: --skip web:: --skip leakers:: --skip stacks::gcc::'

# Nobody else lives here: a test may set the clock.
export TCP_TRACE_TEST_OWN_MACHINE=1

while read -r backend filters; do
  export TCP_TRACE_TEST_BACKEND="$backend" TCP_TRACE_TEST_ABSENCES="/tmp/absent-$backend"
  : >"$TCP_TRACE_TEST_ABSENCES"
  echo "vm: run $backend begins"
  # Filters are words on purpose.
  /vm/kernel --ignored --list $skipped $filters | sed -n 's/^\(.*\): test$/vm: listed \1/p'
  { /vm/kernel --ignored --test-threads=1 $skipped $filters; echo "$?" >/tmp/code; } | tee /tmp/words
  code=$(cat /tmp/code)
  # The emulator may keep a guest from its CPUs for seconds: what failed has one more try, alone,
  # and the table says so.
  failed=$(sed -n '/^failures:$/,$ s/^    \([a-z0-9_]*::[a-z0-9_:]*\)$/\1/p' /tmp/words | sort -u)
  if [ "$code" -ne 0 ] && [ -n "$failed" ]; then
    echo "vm: again $backend"
    # Names are words on purpose.
    /vm/kernel --ignored --test-threads=1 --exact $failed
    code=$?
  fi
  sed 's/^/vm: absent /' "$TCP_TRACE_TEST_ABSENCES"
  echo "vm: run $backend ends with $code"
done </vm/runs

echo "init: success"
sync
poweroff -f
