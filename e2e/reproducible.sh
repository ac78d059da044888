#!/usr/bin/env bash
# `--reproducible`: one manifest digest from a work tree older than its commit and from fresh clones, in other paths, as
# other users, with any umask, locale, time zone, number of jobs and file system of the store, as root and as an ordinary user.
#
# The umask that varies is that of the galley process. File modes are content, as in Docker: a checkout that was made with
# another umask has other modes, and is another image. That is tested too.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck source=/dev/null
source e2e/common.sh

# Mounts, and what might still run when something fails, end with the namespaces.
if [[ ${1:-} != inside ]]; then
  galley=$(program) || exit
  folder=$(mktemp -d "${TMPDIR:-/tmp}/galley-reproducible-XXXXXX")
  # An ordinary user's stores hold files of all ids of the range.
  trap 'rm -rf "$folder" 2>/dev/null || unshare --user --map-root-user --map-auto rm -rf "$folder"' EXIT
  chmod 755 "$folder"
  cp "$galley" "$folder/galley"
  if [[ $EUID -ne 0 ]]; then
    "$0" inside "$folder"
  else
    ordinary_user
    unshare --mount --pid --fork --kill-child --mount-proc "$0" inside "$folder"
  fi
  exit
fi
folder=$2
trap 'exit 130' INT TERM # else the first process of a namespace ignores them
umask 022
expected=

# build CONTEXT STORE SETTING... [-- FLAG...]: prints the manifest digest of a build with these settings of the environment.
build() {
  local context=$1 store=$2 settings=() file
  shift 2
  while [[ $# -gt 0 && $1 != -- ]]; do settings+=("$1") && shift; done
  file=$store.json
  env -C "$context" "${settings[@]}" "$folder/galley" --root "$store" build --progress=plain --reproducible --target whole "${@:2}" \
    -o "type=oci,dest=$store.tar" -o "type=tar,dest=$store.files" -o type=image -t whole --metadata-file "$file" . >"$store.log" 2>&1 || { tail -30 "$store.log" >&2; return 1; }
  python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["containerimage.digest"])' "$file"
}

# same BUILDER...: that this build has the digest of the first one.
same() {
  local digest
  digest=$("$@") || return
  [[ $digest == "${expected:=$digest}" ]] || { echo "$digest instead of $expected"; return 1; }
}

# other BUILDER...: that this build has a digest of its own.
other() {
  local digest
  digest=$("$@") || return
  [[ $digest != "$expected" ]] || { echo "$digest, although something differs"; return 1; }
}

with_umask() {
  (umask "$1" && "${@:2}")
}

# ordinarily BUILDER...: as the ordinary user.
ordinarily() {
  as_ordinary bash -c "folder='$folder'; $(declare -f build); \"\$@\"" - "$@"
}

# exported STORE: what the ordinary user's `galley export` writes are the files of root's image.
exported() {
  as_ordinary "$folder/galley" --root "$1" create --name looked-at whole &&
    as_ordinary "$folder/galley" --root "$1" export looked-at --output "$1.export" || return
  diff <(python3 e2e/trees.py list "$stores/first.files") <(python3 e2e/trees.py list "$1.export")
}

old=$folder/tree
far="$folder/ä far place/with spaces"
mkdir -p "$far" "$folder/stores"
stores=$folder/stores
context "$old" || exit
git clone --quiet "$old" "$far/clone"
find "$old" -name .git -prune -o -exec touch --no-dereference --date=2001-02-03 {} +
(umask 077 && git clone --quiet "$old" "$folder/closed")
echo "store on $(stat -f -c %T "$stores"), $(getconf _NPROCESSORS_ONLN) processors"

first=$(build "$old" "$stores/first" -- --jobs 1) || exit
echo "$first"
expected=$first
check "the same store, from its cache" same build "$old" "$stores/first"
check "executed again" same build "$old" "$stores/first" -- --no-cache
check "eight jobs" same build "$old" "$stores/jobs" -- --jobs 8
check "a fresh clone in another path" same build "$far/clone" "$stores/clone" -- --jobs 8
check "a fresh clone, into the same store" same build "$far/clone" "$stores/first"
check "galley with umask 077" same with_umask 077 build "$old" "$stores/umask-077"
check "galley with umask 000" same with_umask 000 build "$old" "$stores/umask-000"
check "LC_ALL and TZ" same build "$far/clone" "$stores/locale" LC_ALL=C TZ=Asia/Kathmandu
check "LC_ALL of another language" same build "$far/clone" "$stores/language" LC_ALL=tr_TR.UTF-8 LANG=de_DE.UTF-8
check "steps without a network" same build "$old" "$stores/network" -- --network none
check "a checkout made with umask 077 is another image" other build "$folder/closed" "$stores/closed"
check "SOURCE_DATE_EPOCH is another image" other build "$old" "$stores/epoch" SOURCE_DATE_EPOCH=86400

if [[ $EUID -eq 0 ]]; then
  mkdir "$folder/memory" "$folder/ordinary"
  mount -t tmpfs none "$folder/memory"
  check "store on tmpfs" same build "$far/clone" "$folder/memory/store"
  mkdir "$folder/memory/ordinary"
  chown "${ordinary:?}" "$folder/memory/ordinary" "$folder/ordinary"
  # A bundle, because git clones no repository of another user.
  git -C "$old" bundle create --quiet "$folder/bundle" main
  as_ordinary git clone --quiet --branch main "$folder/bundle" "$folder/ordinary/clone"
  own=$folder/ordinary/store
  check "an ordinary user" same ordinarily build "$folder/ordinary/clone" "$own" -- --jobs 1
  check "an ordinary user, from the cache" same ordinarily build "$folder/ordinary/clone" "$own"
  check "an ordinary user, root's checkout" same ordinarily build "$old" "$own-2" -- --jobs 8
  check "an ordinary user with umask 077" same with_umask 077 ordinarily build "$far/clone" "$own-3" TZ=America/Lima
  check "an ordinary user, store on tmpfs" same ordinarily build "$old" "$folder/memory/ordinary/store"
  check "an ordinary user's -o type=tar" cmp "$stores/first.files" "$own.files"
  check "an ordinary user's galley export" exported "$own"
  check "root, the ordinary user's checkout" same build "$folder/ordinary/clone" "$stores/theirs"
fi
summary
