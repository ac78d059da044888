#!/usr/bin/env bash
# Archives go both ways: what `galley save` writes is loaded by docker, podman, skopeo and umoci, and `galley load` takes
# what they save, today's forms and docker's oldest one, compressed in every way: the same ids, names and files. `import`
# makes of `docker export` what docker makes of it.
#
# Needs root. The daemon, its stores and all processes live in namespaces and a folder that end with this script.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck source=/dev/null
source e2e/common.sh

folder=
in_namespaces archives "$@"
here=$PWD
# shellcheck source=/dev/null
source e2e/runtimes.sh

galley() { "$folder/galley" --root "$folder/store" "$@"; }
fresh() { "$folder/galley" --root "$folder/fresh" "$@"; }
copy() { skopeo --insecure-policy copy --quiet "$@"; }
list() { python3 "$here/e2e/trees.py" list "$@"; }

# files GALLEY IMAGE NAME: lists the files of an image, as this galley's containers see them.
files() {
  "$1" create --name "lists-$3" "$2" >/dev/null && "$1" export "lists-$3" --output "$3.export.tar" &&
    "$1" rm "lists-$3" >/dev/null && list "$3.export.tar" >"$3.list" && [[ $(wc -l <"$3.list") -gt 80 ]]
}

# id TOOL IMAGE
id() { "$1" inspect --format '{{.Id}}' "$2"; }

# same TOOL IMAGE: the image has the id that it has here.
same() {
  local found wanted
  # podman puts its own host before names without one.
  found=$(id "$1" "$2") && wanted=$(id galley "${2#localhost/}") || return
  [[ sha256:${found#sha256:} == "$wanted" ]] || { echo "$2 is $found instead of $wanted"; return 1; }
}

# loaded TOOL ARCHIVE IMAGE...: the tool loads it, and every image has its id.
loaded() {
  local tool=$1 archive=$2 image
  "$tool" load --input "$archive" || return
  for image in "${@:3}"; do same "$tool" "$image" || return; done
}

# taken ARCHIVE IMAGE...: galley loads it into an empty store, with the same ids and the very files.
taken() {
  local archive=$1 image
  rm -rf fresh
  fresh load --input "$archive" || return
  for image in "${@:2}"; do same fresh "$image" || return; done
  files fresh "$2" taken && diff all.list taken.list
}

# unpacked LAYOUT: umoci makes the very files of it.
unpacked() {
  rm -rf bundle
  umoci unpack --image "$1" bundle && list bundle/rootfs >unpacked.list && diff all.list unpacked.list
}

# by_stream TOOL...: through a pipe, as people do it.
by_stream() {
  rm -rf fresh
  galley save rich:1 | gzip | fresh load | grep -qx 'Loaded image: rich:1' && same fresh rich:1
}

# A docker archive of before version 1.10 is one without the list of images.
oldest() {
  cp docker.tar oldest.tar && tar --delete --file oldest.tar manifest.json && docker rmi --force rich:1 other:1 &&
    docker load --input oldest.tar && rm -rf fresh && fresh load --input oldest.tar &&
    [[ $(id docker rich:1) == "$(id fresh rich:1)" && $(id docker other:1) == "$(id fresh other:1)" ]] &&
    files fresh rich:1 taken && diff all.list taken.list
}

packed() {
  local program
  for program in gzip bzip2 xz zstd; do
    "$program" -c docker.tar >"docker.tar.$program" && taken "docker.tar.$program" rich:1 other:1 || return
  done
}

# What docker makes of `docker export`, galley makes of it too: the same files, the same config.
imported() {
  local changes=(--change 'CMD ["cat", "/etc/os-release"]' --change 'ENV A=b PATH=/bin' --change 'EXPOSE 80'
    --change 'LABEL x=y' --change 'WORKDIR /srv' --change 'USER 33' --change 'VOLUME /data')
  local format='{{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.ExposedPorts}} {{json .Config.Labels}} {{json .Config.Volumes}} {{.Config.User}} {{.Config.WorkingDir}} {{.Comment}} {{.Os}}/{{.Architecture}}'
  docker import "${changes[@]}" all.export.tar imported:1 && rm -rf fresh &&
    fresh import "${changes[@]}" all.export.tar imported:1 &&
    diff <(docker inspect --format "$format" imported:1) <(fresh inspect --format "$format" imported:1) &&
    files fresh imported:1 taken && diff all.list taken.list &&
    docker save --output imported.tar imported:1 && rm -rf fresh && fresh load --input imported.tar &&
    files fresh imported:1 taken && diff all.list taken.list
}

context "$folder/context" || exit
cd "$folder/context" || exit
galley build --progress=plain -t rich:1 . >"$folder/build.log" 2>&1 || { tail -30 "$folder/build.log"; exit 1; }
printf 'FROM rich:1\nLABEL other=image\nCOPY .dockerignore /new\n' |
  galley build --progress=plain -t other:1 -t other:2 -f - . >"$folder/build.log" 2>&1 || { tail -30 "$folder/build.log"; exit 1; }
cd "$folder" || exit
check "the files of the image" files galley rich:1 all

check "galley save" galley save --output all.tar rich:1 other
check "galley save --format oci-archive" galley save --format oci-archive --output oci.tar rich:1
check "galley save --format oci-dir" galley save --format oci-dir --output layout rich:1 other:2
check "galley loads it" taken all.tar rich:1 other:1 other:2
check "galley loads the layout" taken layout rich:1 other:2
check "galley save | gzip | galley load" by_stream
for source in docker-archive:all.tar:rich:1 oci-archive:oci.tar oci:layout:1; do
  check "skopeo copy $source" copy "$source" "oci:from-${source%%:*}:1"
  check "umoci unpack of that" unpacked "from-${source%%:*}:1"
done

check "dockerd starts" start_docker overlay2
if [[ -s docker.info ]]; then
  check "docker load" loaded docker all.tar rich:1 other:1 other:2
  check "docker save" docker save --output docker.tar rich:1 other
  check "galley loads it" taken docker.tar rich:1 other:1 other:2
  check "galley loads it compressed" packed
  check "galley loads docker's oldest form" oldest
  check "galley import, docker import" imported
fi

check "podman load" loaded podman all.tar rich:1 other:1 other:2
check "podman save" podman save --multi-image-archive --output podman.tar rich:1 other:1
check "galley loads it" taken podman.tar localhost/rich:1 localhost/other:1
podman rmi --all --force >/dev/null 2>&1
# What came as a docker archive podman would write anew for OCI, under another id.
check "podman load of an OCI archive" loaded podman oci.tar rich:1
check "podman save --format oci-archive" podman save --format oci-archive --output podman-oci.tar rich:1
check "galley loads it" taken podman-oci.tar rich:1
check "podman save --format oci-dir" podman save --format oci-dir --output podman-dir rich:1
check "galley loads it" taken podman-dir rich:1
check "skopeo makes a docker archive" copy oci:from-oci:1 docker-archive:skopeo.tar:rich:1
check "galley loads it" taken skopeo.tar rich:1
check "skopeo makes an OCI archive" copy oci:from-oci:1 oci-archive:skopeo-oci.tar:rich:1
check "galley loads it" taken skopeo-oci.tar rich:1

stop_docker
summary
