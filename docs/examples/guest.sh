#!/bin/sh
# Run a command as root in a QEMU guest with Debian's kernel, its swap over NBD:
#
#     guest.sh WORK MEMORY_MIB COMMAND...
#
# The guest's files are this machine's, read-only; WORK is its /mnt, and can be written. Needs
# Debian 12 and: apt-get install qemu-system-x86 busybox-static kmod cpio nbd-server nbd-client
# No hardware help is needed: where there is no /dev/kvm, QEMU emulates the cpus.
set -eu
work=$(realpath "$1")
memory=$2
shift 2

# The kernel, unpacked and not installed.
if ! [ -d "$work/kernel" ]; then
    (
        cd "$work"
        package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/{print $2}')
        apt-get download "$package"
        dpkg -x "$package"_*.deb kernel
    )
fi
version=$(basename "$work"/kernel/boot/vmlinuz-* | cut -d- -f2-)
depmod -b "$work/kernel" "$version"

# An initramfs of busybox and the modules that the guest needs to see this machine's files.
root=$(mktemp -d)
mkdir "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/host"
cp "$(command -v busybox)" "$root/bin/"
for module in virtio_pci 9p 9pnet_virtio e1000 nbd; do
    modprobe -d "$work/kernel" -S "$version" --show-depends "$module" | awk '/^insmod/{print $2}'
done | sort -u | while read -r file; do
    mkdir -p "$root/$(dirname "${file#"$work"/kernel/}")"
    cp "$file" "$root/${file#"$work"/kernel/}"
done
cp "$work/kernel/lib/modules/$version/modules.builtin" "$root/lib/modules/$version/"
depmod -b "$root" "$version" 2> /dev/null
printf '%s\n' "$*" > "$work/command"
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tracefs tracefs /sys/kernel/tracing
for module in virtio_pci 9p 9pnet_virtio e1000 nbd; do modprobe $module; done
mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,ro,msize=262144 root /host
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 work /host/mnt
for folder in proc sys dev; do mount --rbind /$folder /host/$folder; done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
chroot /host nbd-client -nonetlink 10.0.2.2 10809 /dev/nbd0 -N swap -swap -b 4096
until [ "$(cat /sys/block/nbd0/size)" -gt 0 ]; do sleep 0.2; done
mkswap /dev/nbd0
swapon /dev/nbd0
chroot /host env HOME=/mnt TMPDIR=/mnt sh -c 'cd /mnt && sh ./command'
sync
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) | gzip -1 > "$work/initrd.gz"
rm -r "$root"

# The swap server, on this machine's loopback: the guest reaches it as 10.0.2.2.
truncate -s 512M "$work/swap.img"
printf '[generic]\nlistenaddr = 127.0.0.1\nport = 10809\n[swap]\nexportname = %s\n' \
    "$work/swap.img" > "$work/nbd.conf"
nbd-server -C "$work/nbd.conf" -d > "$work/nbd.log" 2>&1 &
server=$!
trap 'kill $server 2> /dev/null || true' EXIT
trap 'exit 130' INT TERM

accel=tcg
[ -w /dev/kvm ] && grep -q -E 'vmx|svm' /proc/cpuinfo && accel=kvm
qemu-system-x86_64 -accel $accel -cpu max -smp 2 -m "$memory" -no-reboot -nographic \
    -kernel "$work/kernel/boot/vmlinuz-$version" -initrd "$work/initrd.gz" \
    -append "console=ttyS0 panic=1 quiet" -netdev user,id=net -device e1000,netdev=net \
    -virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
    -virtfs local,path="$work",mount_tag=work,security_model=none < /dev/null
