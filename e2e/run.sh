#!/usr/bin/env bash
# The end-to-end tests once more as an ordinary user with ranges of subordinate ids; then one digest for everybody
# (reproducible.sh), what other tools read (readers.sh), and pages in a browser (report.sh). As an ordinary user there is
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
programs=$(cargo test -p galley --test main --locked --no-run --message-format=json 2>/dev/null |
  python3 -c 'import json,sys
for line in sys.stdin:
    message = json.loads(line)
    target = message.get("target", {})
    if message.get("executable") and (target.get("kind") == ["test"] or target.get("kind") == ["bin"]):
        print(target["name"], message["executable"])')
while read -r name path; do cp "$path" "$folder/$name"; done <<<"$programs"
cp -r crates/cli/tests/golden crates/cli/tests/golden-* "$folder"
chown -R "$user" "$folder"
chmod 755 "$folder"
code=0

# shellcheck disable=SC2016 # the inner shell expands these
unshare --mount --propagation private bash -euo pipefail -c '
  folder=$1 user=$2
  mkdir -p "$folder/dev" && mount -t tmpfs -o mode=755 none "$folder/dev"
  for node in fuse:10:229 net/tun:10:200; do
    IFS=: read -r name major minor <<<"$node"
    [[ -e /dev/$name ]] || continue
    mkdir -p "$folder/dev/$(dirname "$name")"
    mknod -m 666 "$folder/dev/$name" c "$major" "$minor"
    mount --bind "$folder/dev/$name" "/dev/$name"
  done
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
exit "$code"
