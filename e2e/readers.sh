#!/usr/bin/env bash
# Other tools read what galley writes: skopeo, umoci, docker and podman take images of `-o type=oci` and `-o type=docker`, and
# find the very files that `galley export` writes and that a container of galley sees: owners, modes, extended attributes,
# links, devices, contents. The image runs under docker and podman.
#
# Needs root. The daemon, its stores, its sockets and all processes live in namespaces and a folder that end with this script.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck source=/dev/null
source e2e/common.sh

folder=
in_namespaces readers "$@"
here=$PWD
# shellcheck source=/dev/null
source e2e/runtimes.sh
# What each runtime furnishes is no file of the image, nor are the places of its mounts.
furnished="'(\.dockerenv|run|run/\.containerenv|etc/(hostname|hosts|mtab|resolv\.conf)|dev|proc|sys)'"

galley() { "$folder/galley" --root "$folder/store" "$@"; }
copy() { skopeo --insecure-policy copy --quiet "$@"; }
list() { python3 "$here/e2e/trees.py" list "$@"; }

# tree NAME: the files of what was listed under this name are those of `galley export`.
tree() {
  diff export.list "$1.list"
}

# unpacked LAYOUT: umoci makes the same files of it.
unpacked() {
  umoci unpack --image "$1:1" "$1-bundle" && list "$1-bundle/rootfs" >"$1.list" && tree "$1"
}

# seen RUNTIME IMAGE [FLAG...]: what a process in a container of this image sees, looked at from outside.
seen() {
  local runtime=$1 image=$2 name process
  shift 2
  name=seen-$runtime-${image//[^a-z0-9]/-}
  "$runtime" run --detach --network none --name "$name" "$@" "$image" sleep 1000 || return
  process=$("$runtime" inspect --format '{{.State.Pid}}' "$name") || return
  list "/proc/$process/root" >"$name.list" || return
  diff <(grep -vE "^$furnished " export.list) <(grep -vE "^$furnished " "$name.list")
}

# says RUNTIME IMAGE [FLAG...]: the image runs and prints the file that its CMD names, as its USER.
says() {
  local runtime=$1 image=$2 said
  said=$("$runtime" run --rm --network none "${@:3}" "$image") || return
  # shellcheck disable=SC2016 # the text is meant as it stands
  diff <(printf '%s\n' 'of /bin' 'of ${PATH}') <(echo "$said") || return
  said=$("$runtime" run --rm --network none "${@:3}" "$image" id -u) && [[ $said == 33 ]]
}

# identity RUNTIME IMAGE: the image has the id that galley gave it.
identity() {
  local found
  found=$("$1" inspect --format '{{.Id}}' "$2") || return
  [[ sha256:${found#sha256:} == "$(cat "$folder/id")" ]] || { echo "$found instead of $(cat "$folder/id")"; return 1; }
}

loaded() { "$1" load --quiet --input "$2"; }

exported() {
  galley create --name looked-at rich:galley && galley export looked-at --output export.tar &&
    list export.tar >export.list && [[ $(wc -l <export.list) -gt 80 ]]
}

context "$folder/context" || exit
cd "$folder/context" || exit
galley build --progress=plain -t rich:galley --iidfile "$folder/id" -o type=image \
  -o "type=oci,dest=$folder/oci.tar" -o "type=docker,dest=$folder/docker.tar" -o "type=tar,dest=$folder/files.tar" \
  -o "type=oci,tar=false,dest=$folder/layout" . >"$folder/build.log" 2>&1 || { tail -30 "$folder/build.log"; exit 1; }
cd "$folder" || exit

check "galley export" exported
list files.tar >files.list
check "-o type=tar" tree files
check "a container of galley" seen galley rich:galley
check "galley runs it" says galley rich:galley

for kind in oci docker; do
  check "skopeo copy of -o type=$kind" copy "$kind-archive:$kind.tar" "oci:from-$kind:1"
  check "umoci unpack of -o type=$kind" unpacked "from-$kind"
done
check "skopeo copy of a folder" copy oci:layout "oci:from-layout:1"
check "umoci unpack of a folder" unpacked from-layout
check "skopeo makes an archive for docker" copy oci-archive:oci.tar docker-archive:again.tar:rich:oci

# The driver that keeps extended attributes of users; it needs of the file system what galley's own store needs.
check "dockerd starts" start_docker overlay2
if [[ -s docker.info ]]; then
  check "docker load of -o type=docker" loaded docker docker.tar
  check "docker load of -o type=oci by skopeo" loaded docker again.tar
  for image in rich:galley rich:oci; do
    check "docker knows $image by its id" identity docker "$image"
    check "a container of docker, $image" seen docker "$image"
    check "docker runs $image" says docker "$image"
  done
fi

# Limits of open files cannot be raised on every machine, and the image's /etc/passwd is to stay as it is.
podman_flags=(--ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --cgroup-parent "$group" --passwd=false)
for kind in oci docker; do
  check "podman load of -o type=$kind" loaded podman "$kind.tar"
  check "podman knows it by its id" identity podman rich:galley
  check "a container of podman, of -o type=$kind" seen podman rich:galley "${podman_flags[@]}"
  check "podman runs it" says podman rich:galley "${podman_flags[@]}"
  podman rm --all --force --time 0 >/dev/null && podman rmi --all --force >/dev/null
done

galley rm --force looked-at seen-galley-rich-galley >/dev/null 2>&1
stop_docker
summary
