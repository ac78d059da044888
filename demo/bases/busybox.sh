#!/usr/bin/env bash
# busybox: one static program under all its names, as hard links, as in the real image.
source "$(dirname "$0")/lib.sh"

root=$work/root
unpack "$work/deb" busybox-static
mkdir -p "$root"/{bin,dev,etc,home,lib,root,tmp,usr/bin,usr/sbin,var/spool/mail,var/www}
chmod 1777 "$root/tmp"
cp "$work/deb/bin/busybox" "$root/bin/busybox"
for name in $("$root/bin/busybox" --list); do
  [[ $name == busybox ]] || ln "$root/bin/busybox" "$root/bin/$name"
done
ln -s ../../bin/env "$root/usr/bin/env"
printf '%s\n' root:x:0:0:root:/root:/bin/sh daemon:x:1:1:daemon:/usr/sbin:/bin/false \
  www-data:x:33:33:www-data:/var/www:/bin/false nobody:x:65534:65534:nobody:/home:/bin/false >"$root/etc/passwd"
printf '%s\n' root:x:0: daemon:x:1: www-data:x:33: nobody:x:65534: >"$root/etc/group"
echo 'root:*:::::::' >"$root/etc/shadow"
chmod 600 "$root/etc/shadow"
pack "$root"
