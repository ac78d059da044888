#!/usr/bin/env bash
# galley and other tools meet at a registry: Debian's docker-registry, with TLS and a password. What galley pushes is pulled
# by skopeo, podman and docker (and by BuildKit, where $PEERS names a folder with buildkitd and buildctl), and what they
# push is pulled by galley: the same digests, the same files. Wrong passwords and unknown certificates are refused.
#
# Needs root. Registry, daemons and their stores live in namespaces and a folder that end with this script.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# shellcheck source=/dev/null
source e2e/common.sh

folder=
in_namespaces registry "$@"
here=$PWD
# shellcheck source=/dev/null
source e2e/runtimes.sh
port=$((20000 + RANDOM % 20000))
# A name of its own: everybody lets loopback names be insecure.
hub=kitchen.test:$port
# All of them are written in Go or take these variables: the registry's authority, and who logs in with what.
export SSL_CERT_FILE=$folder/ca.pem DOCKER_CONFIG=$folder/docker-config

galley() { "$folder/galley" --root "$folder/store" "$@"; }
fresh() { rm -rf "$folder/fresh" && "$folder/galley" --root "$folder/fresh" "$@"; }
copy() { skopeo --insecure-policy copy --quiet "$@"; }
list() { python3 "$here/e2e/trees.py" list "$@"; }

certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=kitchen \
    -keyout "$folder/ca.key" -out "$folder/ca.pem" &&
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
      -keyout "$folder/hub.key" -out "$folder/hub.csr" &&
    openssl x509 -req -in "$folder/hub.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 2 \
      -extfile <(echo 'subjectAltName=DNS:kitchen.test') -out "$folder/hub.pem"
}

# The password of `cook` is `secret-word`.
start_registry() {
  # shellcheck disable=SC2016 # a hash, not variables
  echo 'cook:$2b$04$xhGPlFxUFJhZyPU3atZC8euxvJRDvB8UbmSUrpBCgGhhBQ1DuvaR.' >"$folder/htpasswd"
  cat >"$folder/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $folder/registry}}
http: {addr: "127.0.0.1:$port", tls: {certificate: $folder/hub.pem, key: $folder/hub.key}}
auth: {htpasswd: {realm: kitchen, path: $folder/htpasswd}}
YML
  # It takes every variable that begins with REGISTRY_ for a setting.
  env -i PATH="$PATH" docker-registry serve "$folder/registry.yml" >"$folder/registry.log" 2>&1 &
  for _ in {1..100}; do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    sleep 0.1
  done
  head -5 "$folder/registry.log"
  return 1
}

# refused WORD COMMAND...: the command fails and says the word, and never the password.
refused() {
  local word=$1 said
  shift
  if said=$("$@" 2>&1); then
    echo "it was let in"
    return 1
  fi
  [[ $said == *"$word"* && $said != *secret-word* && $said != *wrong-word* ]] || { echo "$said"; return 1; }
}

log_in() { galley login --username cook --password-stdin "$hub" <<<"$1"; }
unknown_authority() { SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt galley pull "$hub/rich:galley"; }
not_logged_in() { DOCKER_CONFIG=$folder/nobody galley pull "$hub/rich:galley"; }

# digest NAME: what the registry has under the name, as skopeo sees it.
digest() { skopeo inspect --format '{{.Digest}}' "docker://$hub/$1"; }

# same DIGEST NAME: the registry has just that under the name.
same() {
  local found
  found=$(digest "$2") || return
  [[ $found == "$1" ]] || { echo "$2 is $found instead of $1"; return 1; }
}

# files NAME LIST: a fresh galley pulls it and exports the files of the list.
files() {
  fresh pull --quiet "$hub/$1" && fresh_export "$hub/$1" "$1.list" && diff "$2" "$1.list"
}

fresh_export() {
  local name
  name=$("$folder/galley" --root "$folder/fresh" create "$1") || return
  "$folder/galley" --root "$folder/fresh" export "$name" --output fresh.tar && list fresh.tar >"$2"
}

# A pull by its own tool, and the files it then has.
by_skopeo() { copy "docker://$hub/$1" "oci:skopeo-$1:1" && umoci unpack --image "skopeo-$1:1" "skopeo-$1-bundle" && list "skopeo-$1-bundle/rootfs" | diff rich.list -; }
by_runtime() {
  local runtime=$1 id
  "$runtime" pull --quiet "$hub/$2" && id=$("$runtime" inspect --format '{{.Id}}' "$hub/$2") || return
  [[ sha256:${id#sha256:} == "$(cat id)" ]] || { echo "$id instead of $(cat id)"; return 1; }
}

# pushed_by RUNTIME FLAG...: it pushes the image it has pulled under another name, and galley pulls that.
pushed_by() {
  local runtime=$1
  shift
  "$runtime" tag "$hub/rich:galley" "$hub/rich-$runtime:1" && "$runtime" push "$@" "$hub/rich-$runtime:1"
}

by_buildkit() {
  mkdir -p "$folder/bk" && printf 'FROM %s/rich:galley\nLABEL by=buildkit\n' "$hub" >"$folder/bk/Dockerfile"
  "$PEERS/buildctl" --addr "unix://$folder/buildkit.sock" build --frontend dockerfile.v0 --local "context=$folder/bk" \
    --local "dockerfile=$folder/bk" --output "type=image,name=$hub/rich-buildkit:1,push=true"
}

start_buildkit() {
  "$PEERS/buildkitd" --root "$folder/buildkit" --addr "unix://$folder/buildkit.sock" --oci-worker-snapshotter=native \
    --containerd-worker=false >"$folder/buildkit.log" 2>&1 &
  for _ in {1..100}; do
    "$PEERS/buildctl" --addr "unix://$folder/buildkit.sock" debug workers >/dev/null 2>&1 && return
    sleep 0.2
  done
  tail -5 "$folder/buildkit.log"
  return 1
}

cd "$here" || exit
context "$folder/context" || exit
touch /etc/hosts
{ cat /etc/hosts && echo 127.0.0.1 kitchen.test; } >"$folder/hosts" && mount --bind "$folder/hosts" /etc/hosts || exit
certificates >"$folder/openssl.log" 2>&1 || { cat "$folder/openssl.log"; exit 1; }
check "docker-registry starts" start_registry
cd "$folder" || exit

check "a wrong password is refused" refused "denied" log_in wrong-word
check "galley login" log_in secret-word
check "an unknown authority is refused" refused "certificate" unknown_authority
check "who is not logged in is refused" refused "galley login" not_logged_in

galley build --progress=plain --iidfile id -t "$hub/rich:galley" --push -o type=image context >build.log 2>&1 || { tail -30 build.log; exit 1; }
name=$(galley create "$hub/rich:galley") && galley export "$name" --output rich.tar && list rich.tar >rich.list
pushed=$(digest rich:galley)
check "galley pulls what it pushed" files rich:galley rich.list
for way in zstd uncompressed; do
  check "galley pushes $way" galley build --quiet -t "$hub/rich:$way" -o "type=registry,compression=$way,force-compression=true" context
  check "galley pulls $way" files "rich:$way" rich.list
done
check "galley pushes with docker's media types" galley build --quiet -t "$hub/rich:docker" -o type=registry,oci-mediatypes=false context
check "galley pulls docker's media types" files rich:docker rich.list
check "galley tag and push" galley tag "$hub/rich:galley" "$hub/rich-again:1"
check "galley push" galley push --quiet "$hub/rich-again:1"
check "the same digest" same "$pushed" rich-again:1

for tag in galley docker; do check "skopeo takes rich:$tag" by_skopeo "rich:$tag"; done
check "skopeo takes zstd" copy "docker://$hub/rich:zstd" oci:zstd:1
check "skopeo copies" copy "docker://$hub/rich:galley" "docker://$hub/rich-skopeo:1"
check "the same digest after skopeo" same "$pushed" rich-skopeo:1
check "galley pulls what skopeo copied" files rich-skopeo:1 rich.list
check "skopeo copies to docker's schema 2" copy --format v2s2 "docker://$hub/rich:galley" "docker://$hub/rich-v2s2:1"
check "galley pulls docker's schema 2" files rich-v2s2:1 rich.list

check "podman takes it" by_runtime podman rich:galley
check "podman pushes" pushed_by podman
check "galley pulls what podman pushed" files rich-podman:1 rich.list

check "dockerd starts" start_docker overlay2
if [[ -s docker.info ]]; then
  check "docker takes it" by_runtime docker rich:galley
  check "docker pushes" pushed_by docker
  check "galley pulls what docker pushed" files rich-docker:1 rich.list
fi

if [[ -n ${PEERS:-} && -x $PEERS/buildkitd ]]; then
  check "buildkitd starts" start_buildkit
  check "BuildKit builds from it and pushes" by_buildkit
  check "galley pulls what BuildKit pushed" files rich-buildkit:1 rich.list
fi

check "galley logout" galley logout "$hub"
check "no password is left" refused "galley login" galley push "$hub/rich:galley"
stop_docker
summary
