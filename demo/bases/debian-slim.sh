#!/usr/bin/env bash
# debian:bookworm-slim: the smallest Debian that has apt-get.
# inputs: debian-hook
source "$(dirname "$0")/lib.sh"

debian_root "$@"
