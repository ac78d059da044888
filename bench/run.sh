#!/usr/bin/env bash
# bench/run.sh [OPTION...]: galley's figures beside those of other builders; --help has the options, `make bench` is the whole
# run that writes docs/performance.md. The only registry is one of this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Debian's programs first: a docker elsewhere may be another version than the daemon.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
# Mounts and daemons end with the namespaces, whatever happens. Without root there are neither.
inside=()
[[ $EUID -ne 0 ]] || inside=(unshare --mount --pid --fork --kill-child --mount-proc)
exec "${inside[@]}" python3 -B -m bench "$@"
