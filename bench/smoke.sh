#!/usr/bin/env bash
# The harness itself, without other builders and in small: the report and its plots are written, nothing stays behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=/dev/null
source e2e/common.sh

galley=$(program)
cargo build --quiet --locked -p galley-sandbox --example limits
limits=${CARGO_TARGET_DIR:-target}/debug/examples/limits
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -B -m unittest -q bench.tests
mkdir "$folder/docs" "$folder/work"
bench/run.sh --galley "$galley" --limits "$limits" --quick --peers none --work "$folder/work" --write "$folder/docs"
grep -q '^| no-op, 5 files | ≤ 10.0 ms | ' "$folder/docs/performance.md"
python3 - "$folder"/docs/performance/{steps,noop-files,copy-files,copy-bytes,builds}.svg <<'END'
import sys
import xml.dom.minidom

for path in sys.argv[1:]:
    assert xml.dom.minidom.parse(path).getElementsByTagName("polyline"), path
END
left=$(find "$folder/work" -mindepth 1 | head)
[[ -z $left ]] || { echo "left behind: $left"; exit 1; }
