#!/usr/bin/env bash
# alpine: what a program sees of Alpine, from Debian packages: musl as the C library, busybox as everything else, the
# certificates of Mozilla, and the stand-in for apk. It does not call itself Alpine: see /etc/os-release.
# inputs: apk

# Programs built on a recent Alpine, such as the Node.js of alpine-build.sh, need musl 1.2.4 or later; Debian 12 has 1.2.3.
suite=trixie
source "$(dirname "$0")/lib.sh"

root=$work/root
unpack "$work/deb" busybox-static musl
mkdir -p "$root"/{bin,dev,etc/apk/stand-in.d,home,lib,media,mnt,opt,proc,root,run,sbin,srv,sys,tmp} \
  "$root"/usr/{bin,lib,sbin,share,local/{bin,lib,share}} "$root"/var/{cache,empty,lib,log,opt,spool,tmp}
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod 700 "$root/root"
ln -s /run "$root/var/run"

# The dynamic linker and the C library are one file with two names.
cp "$work/deb/usr/lib/x86_64-linux-musl/libc.so" "$root/lib/ld-musl-x86_64.so.1"
ln -s ld-musl-x86_64.so.1 "$root/lib/libc.musl-x86_64.so.1"

cp "$work/deb/usr/bin/busybox" "$root/bin/busybox"
# Debian's busybox also plays dpkg and rpm; Alpine's does not, and neither has its packages.
for path in $("$root/bin/busybox" --list-full | grep -vE '^(bin/busybox|linuxrc|bin/rpm|usr/bin/(rpm2cpio|dpkg|dpkg-deb|ar))$'); do
  ln -s /bin/busybox "$root/$path"
done
install -m 755 "$here/apk" "$root/sbin/apk"

ca_bundle "$work/ca"
mkdir -p "$root/etc/ssl/certs"
cp "$work/ca/etc/ssl/certs/ca-certificates.crt" "$root/etc/ssl/certs/"
ln -s certs/ca-certificates.crt "$root/etc/ssl/cert.pem"

printf '%s\n' root:x:0:0:root:/root:/bin/sh bin:x:1:1:bin:/bin:/sbin/nologin \
  guest:x:405:100:guest:/dev/null:/sbin/nologin nobody:x:65534:65534:nobody:/:/sbin/nologin >"$root/etc/passwd"
printf '%s\n' root:x:0:root bin:x:1:root users:x:100: nogroup:x:65533: nobody:x:65534: >"$root/etc/group"
printf '%s\n' 'root:*::0:::::' 'nobody:!::0:::::' >"$root/etc/shadow"
chmod 640 "$root/etc/shadow"
printf '%s\n' '127.0.0.1 localhost' '::1 localhost' >"$root/etc/hosts"
cat >"$root/etc/profile" <<'END'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
cat >"$root/etc/os-release" <<'END'
NAME="alpine stand-in of galley's demo"
ID=galley-demo
PRETTY_NAME="busybox and musl of Debian 13, laid out like Alpine Linux"
END
cat >"$root/etc/apk/stand-in.d/alpine" <<'END'
busybox /bin/busybox
musl /lib/ld-musl-x86_64.so.1
ca-certificates /etc/ssl/certs/ca-certificates.crt
ca-certificates-bundle /etc/ssl/certs/ca-certificates.crt
END
pack "$root"
