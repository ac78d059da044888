#!/usr/bin/env bash
# Limits, pauses and figures of containers where cgroups are of version 2 alone, whatever this machine has: in a machine of its
# own, which qemu emulates, with Debian's kernel and nothing but galley and busybox on it (e2e/cgroups).
#
# Needs no root, unless the package lists are too old to have the kernel: those are root's to renew. Part of `make soak`; with
# GALLEY_UNDER_TEST another program is tried.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck source=/dev/null
source e2e/common.sh

if [[ $(uname -m) != x86_64 ]]; then
  echo "not x86_64: the other machine would have to be emulated in another way"
  summary
  exit
fi
demo/need qemu-system-x86_64=qemu-system-x86 /bin/busybox=busybox-static || exit
binary=$(program) || exit
folder=$(mktemp -d "${TMPDIR:-/tmp}/galley-cgroups-XXXXXX")
trap 'rm -rf "$folder"' EXIT

# kernel: Debian's, unpacked and not installed.
kernel() {
  local package
  package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
  [[ -n $package ]] && (cd "$folder" && apt-get -q download "$package") && dpkg -x "$folder"/linux-image-*.deb "$folder/debian"
}

# files: what is on the other machine, as the archive that its kernel begins with.
files() {
  local root=$folder/root library
  mkdir -p "$root"/{bin,context,dev,etc,modules,new,proc,root,run,sys,tmp}
  cp e2e/cgroups/init e2e/cgroups/tests "$root"
  cp e2e/cgroups/Dockerfile /bin/busybox "$root/context"
  cp /bin/busybox "$binary" "$root/bin"
  while read -r library; do
    mkdir -p "$root${library%/*}" && cp "$library" "$root$library"
  done < <(ldd "$binary" | grep -o '/[^ ]*')
  find "$folder/debian" -name overlay.ko -exec cp -t "$root/modules" {} +
  (cd "$root" && find . | busybox cpio -o -H newc) >"$folder/files" 2>/dev/null
}

log() {
  timeout 900 qemu-system-x86_64 -m 2048 -nographic -no-reboot -nic none -kernel "$folder"/debian/boot/vmlinuz-* -initrd "$folder/files" \
    -append 'console=ttyS0 quiet loglevel=0 panic=-1' </dev/null | tr -d '\r'
}

# The package lists of a fresh machine are empty or old.
said=$({ kernel || { apt-get -q update && kernel; }; } 2>&1) || { echo "$said"; exit 1; }
files || exit
log >"$folder/log"
grep -aE '^(ok|FAILED)  |^  ' "$folder/log"
# shellcheck disable=SC2034 # of e2e/common.sh
passed=$(grep -ac '^ok  ' "$folder/log")
failed=$(grep -ac '^FAILED  ' "$folder/log")
if ! grep -aq '^that was all$' "$folder/log"; then
  tail -30 "$folder/log"
  failed=$((failed + 1))
fi
summary
