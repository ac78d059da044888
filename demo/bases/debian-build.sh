#!/usr/bin/env bash
# What lies under golang:1.22: Debian with the compilers and tools of the real image, except Mercurial, Subversion,
# OpenSSH and GnuPG, which no document asks for.
# inputs: debian-hook
source "$(dirname "$0")/lib.sh"

debian_root --include=ca-certificates,curl,g++,gcc,git,libc6-dev,make,netbase,pkg-config,procps,tzdata,wget
