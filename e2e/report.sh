#!/usr/bin/env bash
# The page of `galley report` in a browser: headless Chromium, driven by ChromeDriver and e2e/report.py. Real builds are
# looked at: one that executed everything, one after a change, and one whose names and output want to be markup.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck source=/dev/null
source e2e/common.sh

if [[ $EUID -ne 0 ]]; then
  echo "not root: no browser is asked"
  summary
  exit
fi
binary=$(program) || exit
folder=$(mktemp -d "${TMPDIR:-/tmp}/galley-report-XXXXXX")
trap 'rm -rf "$folder"' EXIT

galley() { "$binary" --root "$folder/store" "$@"; }

# pages: the three of them.
pages() {
  local context=$folder/context name
  mkdir -p "$folder/rootfs/bin" "$context/src" || return
  cp /bin/busybox "$folder/rootfs/bin/" || return
  for name in sh cat echo mkdir printf seq; do ln -s busybox "$folder/rootfs/bin/$name"; done
  tar -C "$folder/rootfs" -c . | galley import - busybox:latest || return
  cp e2e/report/* "$context" || return
  echo one >"$context/src/one"
  galley build -t app:1 --report "$folder/first.html" --trace "$folder/first.json" "$context" || return
  echo two >"$context/src/two"
  galley build -t app:1 "$context" || return
  galley report -o "$folder/changed.html" || return
  galley build -f "$context/Hostile" --report "$folder/hostile.html" "$context" && return 1
  [[ -s $folder/hostile.html ]]
}

check "pages are written" pages
if [[ $failed -eq 0 ]]; then
  while read -r word line; do
    case $word in
      ok) passed=$((passed + 1)) ;;
      FAILED) failed=$((failed + 1)) ;;
    esac
    printf '%-7s %s\n' "$word" "$line"
  done < <(python3 e2e/report.py "$folder" 2>&1 || echo "FAILED the browser tests end well")
fi
summary
