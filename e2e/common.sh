# What the end-to-end scripts share. They set -uo pipefail and end with `summary`.
# shellcheck shell=bash
ordinary=galley-test
passed=0
failed=0

# The program under test: the one that is given, else the one that cargo builds here.
program() {
  if [[ -n ${GALLEY_UNDER_TEST:-} ]]; then
    realpath "$GALLEY_UNDER_TEST"
  else
    cargo build --quiet --locked -p galley && realpath "${CARGO_TARGET_DIR:-target}/debug/galley"
  fi
}

# check NAME COMMAND...: one test. What the command says is shown when it fails.
check() {
  local name=$1 said
  shift
  if said=$("$@" 2>&1); then
    passed=$((passed + 1))
    echo "ok      $name"
  else
    failed=$((failed + 1))
    printf 'FAILED  %s\n%s\n' "$name" "$said"
  fi
}

# An ordinary user with ranges of subordinate ids, added where it is missing.
ordinary_user() {
  local file
  id "$ordinary" >/dev/null 2>&1 || useradd --create-home "$ordinary"
  for file in /etc/subuid /etc/subgid; do
    grep -q "^$ordinary:" "$file" 2>/dev/null || echo "$ordinary:2000000:65536" >>"$file"
  done
}

# as_ordinary COMMAND...: as that user, with nothing of root's environment.
as_ordinary() {
  setpriv --reuid "$ordinary" --regid "$ordinary" --init-groups --inh-caps=-all \
    env -i PATH="$PATH" HOME="/home/$ordinary" USER="$ordinary" "$@"
}

# context FOLDER: a git work tree of everything that a context can hold, committed at a known time.
context() {
  local here=$PWD
  mkdir -p "$1/src/deep"
  cp e2e/rich/Dockerfile "$1"
  python3 e2e/trees.py archives "$1" || return
  cd "$1" || return
  printf '.git\n*.ignored\n' >.dockerignore
  for file in a b deep/c "$(printf 'caf\351')"; do echo "content of $file" >"src/$file"; done
  chmod 755 src/b
  ln -s a src/link && ln -s /nowhere src/dangling
  git -c init.defaultBranch=main init --quiet . && git add . &&
    GIT_COMMITTER_DATE='1600000000 +0000' git -c user.name=a -c user.email=a@b commit --quiet --message one || return
  cd "$here" || return
}

# test_programs FOLDER: copies galley, as `galley`, and its end-to-end tests, as `main`, with their files to where every user sees
# them: the checkout may be where others may not look. GALLEY_PROFILE=release: the optimised ones.
test_programs() {
  local folder=$1 name path programs
  # shellcheck disable=SC2054 # one word
  local cargo=(cargo test --quiet --locked --no-run --message-format=json-render-diagnostics -p galley --test main)
  programs=$("${cargo[@]}" --profile "${GALLEY_PROFILE:-test}" |
    python3 -c 'import json,sys
for line in sys.stdin:
    message = json.loads(line)
    target = message.get("target", {})
    if message.get("executable") and (target.get("kind") == ["test"] or target.get("kind") == ["bin"]):
        print(target["name"], message["executable"])') || return
  while read -r name path; do cp "$path" "$folder/$name"; done <<<"$programs"
  cp -r crates/cli/tests/golden crates/cli/tests/golden-* "$folder"
}

# open_devices FOLDER: opens /dev/fuse and /dev/net/tun to everybody, in the mount namespace that this is called in.
open_devices() {
  local node name major minor
  mkdir -p "$1/dev" && mount -t tmpfs -o mode=755 none "$1/dev"
  for node in fuse:10:229 net/tun:10:200; do
    IFS=: read -r name major minor <<<"$node"
    [[ -e /dev/$name ]] || continue
    mkdir -p "$1/dev/$(dirname "$name")"
    mknod -m 666 "$1/dev/$name" c "$major" "$minor"
    mount --bind "$1/dev/$name" "/dev/$name"
  done
}

# in_namespaces NAME ARGUMENT...: what follows in e2e/NAME.sh runs as root in mount and process namespaces of its own, with
# galley and all that is made in $folder, which goes with it. The script hands over its own arguments.
in_namespaces() {
  local name=$1 binary
  shift
  if [[ ${1:-} != inside ]]; then
    if [[ $EUID -ne 0 ]]; then
      echo "not root: no other tool is asked"
      summary
      exit
    fi
    binary=$(program) || exit
    folder=$(mktemp -d "${TMPDIR:-/tmp}/galley-$name-XXXXXX")
    # docker and crun leave the folder of the group they were told to use.
    trap 'rm -rf "$folder"; find /sys/fs/cgroup -depth -type d -path "*/${folder##*/}*" -exec rmdir {} + 2>/dev/null' EXIT
    cp "$binary" "$folder/galley"
    unshare --mount --pid --fork --kill-child --mount-proc "e2e/$name.sh" inside "$folder"
    exit
  fi
  folder=$2
  trap 'exit 130' INT TERM # else the first process of a namespace ignores them
  umask 022
  # /usr/sbin first: a program of the same name elsewhere may be another version than the daemon.
  export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
}

summary() {
  echo "$passed passed, $failed failed"
  [[ $failed -eq 0 ]]
}
