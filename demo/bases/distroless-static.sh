#!/usr/bin/env bash
# gcr.io/distroless/static-debian11: what a static program may want to read, and nothing to run. The layout is the
# real image's; the packages are those of Debian 12, because Debian 11 has left the mirrors' main archive.
source "$(dirname "$0")/lib.sh"

root=$work/root
unpack "$work/deb" base-files netbase tzdata
mkdir -p "$root"/{bin,boot,dev,etc,home,lib,proc,root,run,sbin,sys,tmp,usr/{bin,lib,sbin,share},var/{lib,run,tmp}}
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod 700 "$root/root"
cp "$work"/deb/etc/{debian_version,issue,issue.net,host.conf,protocols,services,rpc} "$root/etc/" 2>/dev/null || true
cp -P "$work"/deb/usr/lib/os-release "$root/usr/lib/"
ln -s ../usr/lib/os-release "$root/etc/os-release"
cp -a "$work/deb/usr/share/zoneinfo" "$root/usr/share/"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

ca_bundle "$work/ca"
mkdir -p "$root/etc/ssl/certs"
cp "$work/ca/etc/ssl/certs/ca-certificates.crt" "$root/etc/ssl/certs/"

printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin \
  nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >"$root/etc/passwd"
printf '%s\n' root:x:0: nobody:x:65534: tty:x:5: staff:x:50: nonroot:x:65532: >"$root/etc/group"
mkdir -m 700 "$root/home/nonroot"
# Everything belongs to root, except one folder: tar writes it in a second pass.
pack "$root" --exclude=./home/nonroot .
tar -C "$root" --numeric-owner --owner=65532 --group=65532 --mtime="@$SOURCE_DATE_EPOCH" -rf "$out" ./home/nonroot
