#!/usr/bin/env bash
# The end-to-end tests once more as an ordinary user with ranges of subordinate ids; then one digest for everybody
# (reproducible.sh), what other tools read (readers.sh), pages in a browser (report.sh), and some tests on the lower rungs
# (rungs.sh; `make soak` runs all of them on each). As an ordinary user there is
# nothing to repeat: `cargo test` was that already. /dev/fuse and /dev/net/tun are opened to that user in a private mount
# namespace, where they are closed; nothing of the machine is changed but for the user that is added.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=/dev/null
source e2e/common.sh

if [[ $EUID -ne 0 ]]; then
  echo "not root: the end-to-end tests ran as an ordinary user already"
  exec e2e/reproducible.sh
fi
ordinary_user
user=${ordinary:?}

folder=$(mktemp -d /tmp/galley-e2e-XXXXXX)
trap 'rm -rf "$folder"' EXIT
test_programs "$folder"
chown -R "$user" "$folder"
chmod 755 "$folder"
code=0

# shellcheck disable=SC2016 # the inner shell expands these
unshare --mount --propagation private bash -euo pipefail -c '
  folder=$1 user=$2
  source e2e/common.sh
  open_devices "$folder"
  mkdir -p "$folder/tmp" && chmod 1777 "$folder/tmp"
  # The checkout may be where that user may not look.
  cd "$folder"
  exec setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all \
    env -i PATH="$PATH" HOME="/home/$user" USER="$user" TMPDIR="$folder/tmp" GALLEY_UNDER_TEST="$folder/galley" \
    GALLEY_GOLDEN="$folder/golden" "$folder/main" e2e --skip oracle::rows
' - "$folder" "$user" || code=$?

for script in reproducible readers archives registry report; do
  echo "--- $script"
  GALLEY_UNDER_TEST=$folder/galley "e2e/$script.sh" || code=$?
done
echo "--- rungs"
e2e/rungs.sh short || code=$?
exit "$code"
