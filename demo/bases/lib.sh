# shellcheck shell=bash
# Sourced by every script of this folder. make.sh runs each one with two variables set:
#   work  an empty folder, removed afterwards
#   out   the root file system tar to write
# and this file gives them the verbs they share. Nothing here needs root, and the package sources of the machine are
# not used: packages come from one Debian release on every machine, whatever that machine runs itself.
set -euo pipefail
: "${work:=}" "${out:=}"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${GALLEY_DEMO_CACHE:-$HOME/.cache/galley-demo}
suite=${suite:-bookworm} # a script may name another before it sources this file
mirror=${GALLEY_DEMO_MIRROR:-http://deb.debian.org/debian}
security=${GALLEY_DEMO_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# One time for everything that is made here and not taken from a package, so that two machines make equal tars.
export SOURCE_DATE_EPOCH=1735689600
export LC_ALL=C
umask 022

# The deb lines of the release.
sources() {
  printf 'deb [signed-by=%s] %s %s main\n' \
    "$keyring" "$mirror" "$suite" \
    "$keyring" "$mirror" "$suite-updates" \
    "$keyring" "$security" "$suite-security"
}

# apt-get with its own folders, which believes that nothing is installed. Of the machine's settings those for the network
# stay; what it does after updates does not concern these folders.
own_apt() {
  local apt=$cache/apt/$suite
  mkdir -p "$apt"/state/lists/partial "$apt"/cache/archives/partial
  sources >"$apt/sources.list"
  cat >"$apt/apt.conf" <<END
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State "$apt/state";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "$(id -un)";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
END
  apt-get -qq -c "$apt/apt.conf" "$@"
}

# Fetches the lists of packages, at most once an hour.
update_lists() {
  local stamp=$cache/apt/$suite/updated
  [[ -z $(find "$stamp" -mmin -60 2>/dev/null) ]] || return 0
  own_apt update
  touch "$stamp"
}

# A small Debian with apt-get, as a tar: debian_root [OPTION OF MMDEBSTRAP]...
# /dev is empty, since a builder without root cannot make device files and the sandbox brings its own; the name and the
# name servers of this machine are left out, and documentation, as in Debian's own images.
debian_root() {
  sources | mmdebstrap --variant=minbase --format=tar --skip=output/dev \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
    "$@" --customize-hook="$here/debian-hook" "$suite" "$out" -
  mkdir -p "$work/empty/dev"
  tar -C "$work/empty" --numeric-owner --owner=0 --group=0 --mtime="@$SOURCE_DATE_EPOCH" -rf "$out" ./dev
}

# The names of packages and of everything that they depend on: with_dependencies NAME...
with_dependencies() {
  update_lists
  own_apt -s install "$@" | awk '$1 == "Inst" { print $2 }'
}

# Unpacks packages alone, without what they depend on and without running their scripts: unpack ROOT NAME...
unpack() {
  local root=$1 deb
  shift
  update_lists
  mkdir -p "$work/debs" "$root"
  (cd "$work/debs" && own_apt download "$@")
  for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$root"
  done
  rm -r "$work/debs"
}

# Unpacks a wheel of PyPI, pinned with its digest in requirements.txt: wheel NAME PLATFORM FOLDER
wheel() {
  local name=$1 platform=$2 folder=$3
  grep -A1 "^$name==" "$here/requirements.txt" >"$work/$name.txt"
  python3 -m pip download -q --no-deps --only-binary :all: --platform "$platform" --python-version 3.11 \
    --require-hashes -r "$work/$name.txt" -d "$work/wheel" >&2
  mkdir -p "$folder"
  unzip -q "$work"/wheel/*.whl -d "$folder"
  rm -r "$work/wheel"
}

# Everything trusted by Mozilla, in the one file that programs look for: ca_bundle ROOT
# (Debian's own package makes this file in a script that it runs when it is installed.)
ca_bundle() {
  local root=$1
  unpack "$root" ca-certificates
  mkdir -p "$root/etc/ssl/certs"
  cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
}

# Writes the tar: pack ROOT [FOLDER...]
pack() {
  local root=$1
  shift
  tar -C "$root" --sort=name --numeric-owner --owner=0 --group=0 \
    --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime -cf "$out" "${@:-.}"
}
