#!/usr/bin/env bash
# The modules that gin needs, from Debian's golang-github-gin-gonic-gin-dev, as a folder in the format of a module
# proxy, with the lines of go.sum that fit them. go.sh tells Go to look there first. The checksums are real ones: Go
# checks what it unpacks against the go.sum of the example.
# inputs: goproxy.py
source "$(dirname "$0")/lib.sh"

root=$work/root proxy=$work/root/usr/local/share/goproxy
mapfile -t packages < <(with_dependencies golang-github-gin-gonic-gin-dev)
unpack "$work/deb" "${packages[@]}"
mkdir -p "$proxy"
python3 "$here/goproxy.py" "$work/deb" "$proxy" "$proxy/go.sum"
pack "$root" usr
