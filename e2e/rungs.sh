#!/usr/bin/env bash
# The end-to-end tests on each rung of the ladder (docs/internals/sandbox.md), with everything taken away that would carry a
# better one; and the digests of the same reproducible builds, side by side.
#
#   root     root, with mounts
#   range    an ordinary user with ranges of ids
#   single   an ordinary user without: /etc/subuid and /etc/subgid are empty
#   pod      root with Docker's capabilities and a filter that refuses mounts and namespaces, as in an ordinary Kubernetes pod
#
#   rungs.sh [short]       `short`: only some tests, on the rungs where `make test` does not run all of them anyway
#   RUNGS="single pod"     on these rungs alone; TESTS="e2e::run" these tests; GALLEY_PROFILE=release the optimised program
#
# Needs root; everything happens in mount and process namespaces that end with it. Tests that cannot work on a rung are in
# rungs/skipped, with the reason.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck source=/dev/null
source e2e/common.sh

read -ra tests <<<"${TESTS:-e2e}"
rungs=${RUNGS:-root range single pod}
if [[ ${1:-} == short ]]; then
  # The escape suite runs in `make test` as root and as an ordinary user already.
  read -ra tests <<<"${TESTS:-e2e::build}"
  rungs=${RUNGS:-single pod}
fi
if [[ $EUID -ne 0 ]]; then
  echo "not root: no rung can be made"
  summary
  exit
fi
ordinary_user
user=${ordinary:?}
folder=$(mktemp -d /tmp/galley-rungs-XXXXXX)
# An ordinary user's stores hold files of all ids of the range.
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
test_programs "$folder" || exit

# on RUNG COMMAND...: runs a command there. Its folder of temporary files is its own.
on() {
  local rung=$1
  shift
  mkdir -p "$folder/$rung"
  [[ $rung == root || $rung == pod ]] || chown "$user" "$folder/$rung"
  # shellcheck disable=SC2016 # the inner shell expands these
  unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -euo pipefail -c '
    folder=$1 rung=$2 user=$3
    shift 3
    source e2e/common.sh
    trap "exit 130" INT TERM # else the first process of a namespace ignores them
    be=(env)
    case $rung in
      range | single)
        open_devices "$folder/$rung"
        be=(setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all)
        ;;&
      single) for file in /etc/subuid /etc/subgid; do mount --bind /dev/null "$file"; done ;;
      pod) be=(python3 "$folder/confine.py") ;;
    esac
    home=/root
    [[ $rung == root || $rung == pod ]] || home=/home/$user
    cd "$folder"
    # Not the first process of its namespace: whoever is that has no signals that end it.
    "${be[@]}" env -i PATH="$PATH" HOME="$home" USER="${user}" TMPDIR="$folder/$rung" \
      GALLEY_UNDER_TEST="$folder/galley" GALLEY_GOLDEN="$folder/golden" "$@"
  ' - "$folder" "$rung" "$user" "$@" </dev/null
}

# carries RUNG: whether galley finds that rung there and no better one.
carries() {
  local words
  case $1 in
    root) words='as root' ;;
    range) words='in a user namespace$' ;;
    single) words='in a user namespace with one id' ;;
    pod) words='by chroot' ;;
  esac
  on "$1" "$folder/galley" --root "$folder/$1/doctor" doctor >"$folder/$1.doctor" 2>&1
  grep -q "sandboxes:.*$words" "$folder/$1.doctor"
}

# suite RUNG: runs the tests there and sets passed_there, failed_there, skipped_there.
suite() {
  local rung=$1 test reason skips=(--skip oracle::rows) log=$folder/$1.log
  skipped_there=0
  while IFS=$'\t' read -r of test reason; do
    [[ $of == "$rung" ]] || continue
    skips+=(--skip "$test")
    skipped_there=$((skipped_there + 1))
    printf 'skipped %-7s %s: %s\n' "$rung" "$test" "$reason"
  done < <(grep -v '^#' e2e/rungs/skipped)
  on "$rung" "$folder/main" "${tests[@]}" "${skips[@]}" --show-output >"$log" 2>&1
  read -r passed_there failed_there < <(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed.*/\1 \2/p' "$log")
  # Those that find out themselves say so; each counts once, and not as passed.
  while read -r test reason; do
    skipped_there=$((skipped_there + 1)) passed_there=$((passed_there - 1))
    printf 'skipped %-7s %s: %s\n' "$rung" "$test" "$reason"
  done < <(awk '/^---- .* stdout ----$/ { test = $2; told = 0 } /^SKIPPED: / && !told { told = 1; print test, substr($0, 10) }
    /^failures:$/ { exit }' "$log")
  sed -nE 's/^test (.*) \.\.\. FAILED$/FAILED  '"$rung"' \1/p; /^thread .* panicked at/ { N; p }' "$log" | cut -c 1-2000
  sed -n 's/^escape all /escape  '"$rung"'/p' "$log"
  [[ -n ${passed_there:-} ]] || { tail -20 "$log" && passed_there=0 failed_there=1; }
}

# context_of_builds: the files of all builds, where every user can read them.
context_of_builds() {
  local context=$folder/context deb=$folder/deb
  mkdir -p "$context" "$deb/DEBIAN" "$deb/usr/lib/rung" "$deb/var/lib/rung" "$deb/etc"
  cp e2e/rungs/*.Dockerfile "$context"
  (cd "$folder" && python3 "$OLDPWD/e2e/trees.py" archives "$context") || return
  local tars=${GALLEY_DEMO_CACHE:-$HOME/.cache/galley-demo}/tars
  [[ ! -e $tars/debian-slim.tar ]] || cp "$tars/debian-slim.tar" "$context/debian.tar"
  [[ ! -e $tars/go.tar ]] || cp "$tars/go.tar" "$context"
  printf 'Package: rung\nVersion: 1\nArchitecture: all\nMaintainer: galley <galley@example.invalid>\nDescription: owners\n' >"$deb/DEBIAN/control"
  # shellcheck disable=SC2016 # the package's own script expands it
  printf '#!/bin/sh\nset -e\nchown 33:33 /var/lib/rung/state\nchmod 640 /var/lib/rung/state\n[ "$1" = configure ]\n' >"$deb/DEBIAN/postinst"
  chmod 755 "$deb/DEBIAN/postinst"
  echo state >"$deb/var/lib/rung/state" && echo conf >"$deb/etc/rung.conf" && echo /etc/rung.conf >"$deb/DEBIAN/conffiles"
  cp /bin/busybox "$deb/usr/lib/rung/id" && chown 33:34 "$deb/etc/rung.conf" && chmod 4755 "$deb/usr/lib/rung/id"
  find "$deb" -exec touch --no-dereference --date=2001-02-03 {} +
  SOURCE_DATE_EPOCH=981158400 dpkg-deb --build -Znone "$deb" "$context/rung.deb" >/dev/null && chmod -R a+rX "$context"
}

# digest RUNG DOCUMENT: of its reproducible build there.
digest() {
  local meta=$folder/$1/$2.json network=none
  [[ $1 != pod ]] || network=host # there is no other
  on "$1" env SOURCE_DATE_EPOCH=1600000000 "$folder/galley" --root "$folder/$1/store" build --progress=plain --reproducible --network="$network" \
    -f "$folder/context/$2.Dockerfile" -o "type=oci,dest=$folder/$1/$2.tar" --metadata-file "$meta" "$folder/context" >"$folder/$1.$2.log" 2>&1 &&
    python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["containerimage.digest"])' "$meta"
}

cp e2e/rungs/confine.py "$folder"
context_of_builds || exit
documents=(owners)
if [[ ${1:-} == short ]]; then
  : # the large ones are for the whole suite
elif [[ -e $folder/context/debian.tar ]]; then
  documents+=(debian)
  [[ ! -e $folder/context/go.tar ]] || documents+=(go)
else
  echo "skipped all     debian.Dockerfile, go.Dockerfile: no base images; make demo makes them"
fi

declare -A first
table=()
digests=()
for rung in $rungs; do
  echo "--- $rung"
  if ! carries "$rung"; then
    grep -i -A2 sandboxes "$folder/$rung.doctor" || tail -3 "$folder/$rung.doctor"
    failed=$((failed + 1))
    table+=("$(printf '%-8s does not carry here' "$rung")")
    continue
  fi
  suite "$rung"
  passed=$((passed + passed_there)) failed=$((failed + failed_there))
  table+=("$(printf '%-8s %6s passed %4s failed %4s skipped' "$rung" "$passed_there" "$failed_there" "$skipped_there")")
  for document in "${documents[@]}"; do
    if ! found=$(digest "$rung" "$document"); then
      tail -20 "$folder/$rung.$document.log"
      found=failed
    fi
    if [[ $found != failed && $found == "${first[$document]:=$found}" ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    digests+=("$(printf '%-8s %-8s %s' "$document" "$rung" "$found")")
  done
done
printf '\n'
printf '%s\n' "${table[@]}"
printf '%s\n' "${digests[@]}" | sort -s -k1,1
summary
