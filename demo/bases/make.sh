#!/usr/bin/env bash
# Makes the root file systems of the demo's base images: make.sh [NAME...], by default all.
#
# Each NAME.sh of this folder writes one tar, into $GALLEY_DEMO_CACHE/tars (by default ~/.cache/galley-demo/tars). A tar is
# made once: it is kept as long as its script, lib.sh, and the files that the script names after "# inputs:" are the
# same. To start afresh, remove the folder. Prints a line per tar: what was done, its size and how long it took.
source "$(dirname "$0")/lib.sh"

all=(debian-slim debian-build go goproxy alpine alpine-build distroless-static busybox)
[[ $(dpkg --print-architecture) == amd64 ]] || { echo "make.sh: the bases of the demo are for amd64 only" >&2; exit 1; }

"$here/../need" mmdebstrap dpkg-deb=dpkg python3 unzip "$keyring=debian-archive-keyring" \
  /usr/share/doc/python3-pip=python3-pip /etc/ssl/certs/ca-certificates.crt=ca-certificates

# The digest of everything that decides what is in a tar.
key_of() {
  local inputs=() input
  # shellcheck disable=SC2013 # words is what is meant
  for input in $(sed -n 's/^# inputs: //p' "$here/$1.sh"); do
    inputs+=("$here/$input")
  done
  { sources; cat "$here/$1.sh" "$here/lib.sh" "${inputs[@]}"; } | sha256sum | cut -d' ' -f1
}

make_one() {
  local name=$1 key begin=$SECONDS did=kept
  key=$(key_of "$name")
  out=$cache/tars/$name.tar
  if [[ ! -e $out || $(cat "$out.key" 2>/dev/null) != "$key" ]]; then
    work=$(mktemp -d "$cache/work.XXXXXX")
    rm -f "$out.key"
    work=$work out=$out.part bash "$here/$name.sh" >"$work.log" 2>&1 || {
      echo "make.sh: $name failed; the end of its output ($work.log):" >&2
      tail -20 "$work.log" >&2
      exit 1
    }
    mv "$out.part" "$out"
    echo "$key" >"$out.key"
    rm -rf "$work" "$work.log"
    did=made
  fi
  printf '%-18s %s %5s MB %4s s\n' "$name" "$did" "$(($(stat -c %s "$out") / 1000000))" "$((SECONDS - begin))"
}

mkdir -p "$cache/tars"
exec 9>"$cache/lock"
flock 9
rm -rf "$cache"/work.*
update_lists
for name in "${@:-${all[@]}}"; do
  make_one "$name"
done
