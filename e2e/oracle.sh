#!/usr/bin/env bash
# Asks BuildKit anew for its answer to every case of crates/cli/tests/golden, golden-errors and golden-check, writes them
# down, and compares galley with them. `git diff` shows what BuildKit changed since the last time.
#
# PEERS is a folder with buildkitd, buildctl and docker-buildx of BuildKit's head. Needs root. The daemon has its own root
# and its own socket in a folder that ends with this script. GALLEY_CASES=WORD takes the cases with this word alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -z ${PEERS:-} ]]; then
  echo "PEERS is not set: the folder with buildkitd, buildctl and docker-buildx" >&2
  exit 2
fi
PEERS=$(realpath "$PEERS")
for program in buildkitd buildctl docker-buildx; do
  [[ -x $PEERS/$program ]] || { echo "$PEERS has no $program" >&2; exit 2; }
done
[[ $(id -u) == 0 ]] || { echo "BuildKit's daemon needs root" >&2; exit 2; }
command -v runc >/dev/null || { echo "BuildKit's daemon needs runc" >&2; exit 2; }
export PATH=$PEERS:$PATH

folder=$(mktemp -d)
address=unix://$folder/socket
daemon=
finish() {
  if [[ -n $daemon ]]; then
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap finish EXIT

# Rights are given to a daemon first, and then to the cases that ask for them.
buildkitd --root "$folder/root" --addr "$address" --oci-worker-snapshotter=overlayfs --containerd-worker=false \
  --allow-insecure-entitlement security.insecure --allow-insecure-entitlement network.host \
  >"$folder/log" 2>&1 &
daemon=$!
until buildctl --addr "$address" debug workers >/dev/null 2>&1; do
  kill -0 "$daemon" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
  sleep 0.2
done
buildctl --addr "$address" debug info | sed 's/^/    /'

cargo test --locked -p galley --test main --no-run
echo "=== BuildKit answers"
GALLEY_BUILDKITD=$address cargo test -q --locked -p galley --test main -- e2e::oracle e2e::questions --skip e2e::oracle::rows
git --no-pager diff --stat -- crates/cli/tests | tail -n 1
echo "=== galley answers"
cargo test -q --locked -p galley --test main -- e2e::oracle e2e::questions
