#!/usr/bin/env bash
# Gets the Dockerfiles of e2e/corpus/files.tsv, checks their digests, and has galley read, plan and check each of them.
# They belong to their projects and are not kept here. What is there already is not fetched again.
#
# GALLEY_CORPUS   where they are kept, by digest (~/.cache/galley-corpus)
# CORPUS_MIRRORS  a folder of git repositories OWNER+NAME/repo to take them from, instead of raw.githubusercontent.com
set -euo pipefail
cd "$(dirname "$0")/.."

export GALLEY_CORPUS=${GALLEY_CORPUS:-${XDG_CACHE_HOME:-$HOME/.cache}/galley-corpus}
mkdir -p "$GALLEY_CORPUS"

get() { # REPOSITORY COMMIT PATH
	local mirror="${CORPUS_MIRRORS:-}/${1/\//+}/repo"
	if [[ -n ${CORPUS_MIRRORS:-} ]]; then
		git --git-dir "$mirror" show "$2:$3"
	else
		curl --fail --silent --show-error --location --retry 3 "https://raw.githubusercontent.com/$1/$2/$3"
	fi
}

missing=0
while IFS=$'\t' read -r repository commit path digest; do
	if [[ $repository == \#* || -e $GALLEY_CORPUS/$digest ]]; then
		continue
	fi
	part=$(mktemp "$GALLEY_CORPUS/.part.XXXXXX")
	if get "$repository" "$commit" "$path" >"$part" && sha256sum --quiet --check <<<"$digest  $part"; then
		mv "$part" "$GALLEY_CORPUS/$digest"
	else
		rm -f "$part"
		echo "cannot be had: $repository $path" >&2
		missing=$((missing + 1))
	fi
done <e2e/corpus/files.tsv
if ((missing > 0)); then
	echo "$missing Dockerfiles are missing: see above" >&2
	exit 1
fi
cargo test --package galley-engine --lib plan::tests::corpus
