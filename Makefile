# The one door: what is done here by hand and by CI is done with these targets. Each installs what it needs, by apt-get,
# and only when it is missing; `demo/need` does that and says so.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET := $(or $(CARGO_TARGET_DIR),target)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
RELEASE_LIMIT_MB := 15

.PHONY: help demo test soak fuzz corpus lint fmt bench release clean \
	install-rust install-compiler install-lint install-test install-bench

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: install-rust ## build galley, base images and every example; run them; send them through a registry (minutes, ~5 GB)
	demo/run.sh

test: install-rust install-compiler install-lint install-test ## everything that must hold before a commit
	.ci/checks

oracle: install-rust install-compiler install-test ## ask BuildKit (PEERS=folder of its programs) for its answers anew, and compare
	e2e/oracle.sh

soak: install-rust install-compiler install-test install-fuzz ## what takes hours: many random cases, every fault, long tests, rungs, fuzz, the demo
	.ci/checks soak

fuzz: install-rust install-fuzz ## feed the readers with what a fuzzer thinks of, FUZZ_SECONDS (600) each
	fuzz/run.sh

corpus: install-rust install-compiler ## read, plan and check the Dockerfiles of 53 projects, which it gets from github.com
	e2e/corpus.sh

lint: install-rust install-compiler install-lint ## formats, lints and scripts, without running anything
	.ci/checks lint

fmt: install-rust ## format the sources
	cargo fmt --all

bench: release install-bench ## measure galley beside other builders (PEERS=folder of BuildKit's head) and the limits, write docs/performance.md
	cargo build --release --locked -p galley-sandbox --example limits
	bench/run.sh --limits $(TARGET)/release/examples/limits --write

release: install-rust install-compiler ## dist/galley: one static binary
	RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols" cargo build --release --locked --target $(HOST) -p galley
	mkdir -p dist
	cp $(TARGET)/$(HOST)/release/galley dist/galley
	@if readelf -lW dist/galley | grep -q INTERP; then echo "dist/galley is not static" >&2; exit 1; fi
	@if readelf -SW dist/galley | grep -q symtab; then echo "dist/galley is not stripped" >&2; exit 1; fi
	@size=$$(stat -c %s dist/galley); \
	if (( size > $(RELEASE_LIMIT_MB) * 1024 * 1024 )); then \
		echo "dist/galley has $$size bytes, more than $(RELEASE_LIMIT_MB) MiB" >&2; exit 1; \
	fi; \
	echo "dist/galley: static, $$((size / 1024)) KiB"

clean: ## remove what was built here (the demo's cache stays: rm -r ~/.cache/galley-demo)
	rm -rf $(TARGET) dist

install-rust:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust as https://rustup.rs says; rustup then fetches the version of rust-toolchain.toml by itself" >&2; exit 1; }

install-compiler:
	@demo/need cc=gcc /usr/include/stdio.h=libc6-dev readelf=binutils git

install-lint:
	@demo/need shellcheck

install-fuzz: install-compiler
	@demo/need g++

install-test: install-compiler
	@demo/need /bin/busybox=busybox-static newuidmap=uidmap useradd=passwd setpriv=util-linux kill=procps python3 tar xz=xz-utils bzip2 zstd \
		setcap=libcap2-bin pasta=passt ssh-add=openssh-client skopeo umoci podman dockerd=docker.io docker-registry openssl chromium chromedriver=chromium-driver \
		fsck.erofs=erofs-utils strace valgrind

install-bench: install-test
	@demo/need buildah runc crun pigz curl /bin/gzip=gzip unshare=util-linux
