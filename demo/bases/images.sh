#!/usr/bin/env bash
# Lets galley make the base images out of the tars of make.sh: images.sh [IMAGE...], by default all.
# $GALLEY is the program to call, by default galley; its store is where it usually is, or $GALLEY_ROOT.
source "$(dirname "$0")/lib.sh"

galley=${GALLEY:-galley}

# Image, Dockerfile, target stage (- for the last), tars.
table='busybox:latest busybox - busybox
alpine:latest alpine - alpine
debian:bookworm-slim debian - debian-slim
gcr.io/distroless/static-debian11:latest distroless-static - distroless-static
golang:1.22 golang - debian-build go goproxy
golang:1.22-alpine golang-alpine plain go goproxy
golang:alpine golang-alpine build go goproxy alpine-build'

wanted() {
  [[ $# -eq 1 ]] && return 0
  local image=$1 name
  shift
  for name in "$@"; do
    [[ $image == "$name" || $image == "$name:latest" ]] && return 0
  done
  return 1
}

while read -r image file stage tars; do
  wanted "$image" "$@" || continue
  target=()
  [[ $stage == - ]] || target=(--target "$stage")
  begin=$SECONDS
  # shellcheck disable=SC2086 # words is what is meant
  "$here/make.sh" $tars
  "$galley" build -q -f "$here/$file.Dockerfile" "${target[@]}" -t "$image" "$cache/tars" >/dev/null
  printf '%-42s %s s\n' "$image" "$((SECONDS - begin))"
done <<<"$table"
