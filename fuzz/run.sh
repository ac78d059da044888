#!/usr/bin/env bash
# Runs the fuzz targets, coverage-guided, one after the other: fuzz/run.sh [TARGET…]
#
# FUZZ_SECONDS   how long each (600)
# FUZZ_CORPUS    where what was found interesting is kept (~/.cache/galley-fuzz), and begun with the next time
# GALLEY_CORPUS  Dockerfiles to begin with, see e2e/corpus.sh
#
# `cargo fuzz run TARGET` does the same where cargo-fuzz is installed; here neither it nor a nightly compiler is needed.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-600}
corpus=${FUZZ_CORPUS:-${XDG_CACHE_HOME:-$HOME/.cache}/galley-fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')
targets=("$@")
if ((${#targets[@]} == 0)); then
	mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs)
fi

flags=(--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	flags+=("-Cllvm-args=-sanitizer-coverage-$option")
done
if ! RUSTFLAGS="${flags[*]}" cargo build --release --locked --target "$host" --manifest-path fuzz/Cargo.toml; then
	echo "the fuzz targets cannot be built: they need the crate libfuzzer-sys (from crates.io) and g++" >&2
	exit 1
fi
built=${CARGO_TARGET_DIR:-fuzz/target}/$host/release

for target in "${targets[@]}"; do
	found=$corpus/$target
	mkdir -p "$found"
	seeds=()
	for folder in "fuzz/seeds/$target" "${GALLEY_CORPUS:-}"; do
		if [[ -d $folder && ($folder == fuzz/* || $target == dockerfile) ]]; then
			seeds+=("$folder")
		fi
	done
	echo "== $target: $seconds s"
	if ! "$built/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-verbosity=0 -artifact_prefix="$corpus/$target-" "$found" "${seeds[@]}"; then
		echo "$target has a finding: the input is below $corpus; put it into a test" >&2
		exit 1
	fi
done
