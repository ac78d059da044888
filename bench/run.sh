#!/usr/bin/env bash
# make bench: galley's figures beside those of Debian's buildah, docker, podman, skopeo and umoci, and of BuildKit where $PEERS
# has its binaries. Everything that is needed is installed by make; the only registry is one of this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python3 bench/bench.py "$@"
python3 bench/registry.py "$@"
# The sandbox alone beside a bare loop of the same system calls: what a trivial RUN step is measured against.
cargo bench -q --locked -p galley-sandbox --bench spawn
