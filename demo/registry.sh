# shellcheck shell=bash
# Sourced by run.sh: the demo with a registry in the middle. A docker-registry of this machine stands for one that many
# share; each further store stands for a machine that has nothing. Bases and results travel, and nothing is built again.
set -euo pipefail
: "${top:?}" "${demo:?}" "${cache:?}" "${scratch:?}" "${GALLEY_ROOT:?}"

first=$GALLEY_ROOT
place=$cache/registry # the registry's files and the other stores, about 2 GB; gone when the demo ends
hub=
registry_pid=
pushed=() # names of bases there

# Names of bases and where a mirror has them.
bases='golang:1.22 library/golang:1.22
golang:1.22-alpine library/golang:1.22-alpine
golang:alpine library/golang:alpine
alpine:latest library/alpine:latest
gcr.io/distroless/static-debian11:latest distroless/static-debian11:latest'

# Every image of the documents: its name, its folder, what else its build is given.
images='buildinfo:latest buildinfo --build-arg VERSION=1.2.3
my-service:latest https-client
my-service:certs https-client -f Dockerfile.certs
videos:latest videos
pong:latest pong
site:latest site
site:staged site -f Dockerfile.staged
site:distroless site -f Dockerfile.distroless
site:installsuffix site -f Dockerfile.installsuffix
site:static site -f Dockerfile.static'

fail() {
  echo "demo: $*" >&2
  exit 1
}

start_registry() {
  local port
  "$demo/need" docker-registry
  rm -rf "$place"
  mkdir -p "$place"
  port=$(free_port 5000)
  hub=localhost:$port
  cat >"$scratch/registry.yml" <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $place/blobs}}
http: {addr: "127.0.0.1:$port"}
END
  show docker-registry serve registry.yml "&"
  # It takes every variable that begins with REGISTRY_ for a setting.
  env -i PATH="$PATH" docker-registry serve "$scratch/registry.yml" >"$scratch/registry.log" 2>&1 &
  registry_pid=$!
  for _ in {1..100}; do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    sleep 0.1
  done
  head -5 "$scratch/registry.log" >&2
  fail "docker-registry does not start"
}

# Also called when the demo ends early.
stop_registry() {
  [[ -n $registry_pid ]] || return 0
  kill "$registry_pid" 2>/dev/null || true
  registry_pid=
  galley --root "$first" rmi "${pushed[@]}" >/dev/null 2>&1 || true
  rm -rf "$place"
}

# From here on, galley has this store.
use() {
  export GALLEY_ROOT=$1
  show export "GALLEY_ROOT=$1"
}

# Runs a command and says how long it took.
timed() {
  local begin=$SECONDS
  run "$@"
  echo "($((SECONDS - begin)) s)"
}

id_of() { galley inspect --format '{{.Id}}' "$1"; }

push_bases() {
  local base path
  note "The bases go to the registry:"
  while read -r base path; do
    run galley tag "$base" "$hub/$path"
    pushed+=("$hub/$path")
  done <<<"$bases"
  timed galley push -q "${pushed[@]}"
}

# Pushes always go where their name says. For pulls, settings may send galley to a mirror first.
write_mirrors() {
  note "Others know them by their usual names. The settings that podman and skopeo read, too, say that this registry mirrors \
Docker Hub and gcr.io:"
  printf '[[registry]]\nlocation = "%s"\n[[registry.mirror]]\nlocation = "%s"\n' \
    docker.io "$hub" gcr.io "$hub" >"$scratch/registries.conf"
  run cat "$scratch/registries.conf"
  export CONTAINERS_REGISTRIES_CONF=$scratch/registries.conf
  show export "CONTAINERS_REGISTRIES_CONF=$CONTAINERS_REGISTRIES_CONF"
}

pull_bases() {
  local base names
  mapfile -t names < <(cut -d' ' -f1 <<<"$bases")
  write_mirrors
  note "A second store, which is empty, pulls them:"
  use "$place/second"
  timed galley pull -q "${names[@]}"
  run galley images
  for base in "${names[@]}"; do
    [[ $(id_of "$base") == "$(GALLEY_ROOT=$first id_of "$base")" ]] || fail "$base has changed on its way"
  done
  note "All of them have the digests of the first store."
  rm -rf "$place/second"
}

# Goes to an example's folder, or to the copy that fresh_sums made of it.
enter() {
  cd "$top/examples/$1"
  [[ ! -d $scratch/$1 ]] || cd "$scratch/$1"
}

# Their ids are kept: ids/NAME.
push_images() {
  local image folder flags begin=$SECONDS
  note "The first store has built every image of the documents. It pushes them, and with them its cache: what each step made."
  use "$first"
  mkdir "$scratch/ids"
  while read -r image folder flags; do
    enter "$folder"
    # shellcheck disable=SC2086 # words is what is meant
    run galley build -q $flags --push -t "$hub/demo/$image" \
      --cache-to "type=registry,ref=$hub/cache/$image,mode=max" . >"$scratch/ids/$image"
    cat "$scratch/ids/$image"
  done <<<"$images"
  echo "($((SECONDS - begin)) s)"
}

# What --progress=rawjson told of a build: steps that were run, bytes that were fetched, and how many of these of bases.
told() {
  python3 - "$1" <<'END'
import json, sys
events = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
steps = sum(event["event"] == "started" for event in events)
blobs = {(e["name"], e["blob"]): e["done"] for e in events if e["event"] == "transfer" and e["direction"] == "pull"}
bases = sum(size for (name, _), size in blobs.items() if name.startswith(("docker.io/", "gcr.io/")))
print(steps, sum(blobs.values()), bases)
END
}

# Builds with the cache of the registry: rebuild IMAGE FLAG..., what happens is then in $scratch/events.json.
rebuild() {
  local image=$1
  shift
  set -- build "$@" --cache-from "type=registry,ref=$hub/cache/$image" --progress=rawjson .
  show galley "$@" "2>" events.json
  galley "$@" 2>"$scratch/events.json" || { cat "$scratch/events.json" >&2; exit 1; }
}

# Bytes of blobs that the registry has sent, says its own log, from line $1 on.
sent_since() {
  tail -n "+$1" "$scratch/registry.log" | awk '$6 == "\"GET" && $7 ~ /\/blobs\// { sum += $10 } END { print sum + 0 }'
}

rebuild_images() {
  local image folder flags begin steps fetched bases line=$(($(wc -l <"$scratch/registry.log") + 1))
  note "A third store is empty again. It builds them all, with that cache:"
  use "$place/third"
  while read -r image folder flags; do
    enter "$folder"
    begin=$SECONDS
    # shellcheck disable=SC2086 # words is what is meant
    rebuild "$image" $flags -t "$image"
    read -r steps fetched bases < <(told "$scratch/events.json")
    [[ $(id_of "$image") == "$(cat "$scratch/ids/$image")" ]] || fail "$image has another digest here"
    [[ $steps -eq 0 ]] || fail "$image: $steps steps were run"
    printf '%s %s %s %s %s %s\n' "$image" "$steps" "$fetched" "$bases" "$((SECONDS - begin))" "$(id_of "$image")" >>"$scratch/rebuilt"
  done <<<"$images"
  table_of_rebuilt "$(sent_since "$line")"
  note "Nothing of golang:1.22 (631 MB) or golang:1.22-alpine was fetched: no image holds them. site:latest is golang:alpine and \
more, so its layers had to come."
  run galley run --rm buildinfo print
}

# What was done, and whether it is plausible: the registry says itself that it has sent $1 bytes of blobs.
table_of_rebuilt() {
  echo
  awk -v sent="$1" '
    BEGIN { printf "%-20s %9s %11s %14s %5s  %s\n", "image", "steps run", "fetched", "of it, bases", "time", "digest, as in the first store" }
    { printf "%-20s %9d %8.1f MB %11.1f MB %3d s  %s\n", $1, $2, $3 / 1e6, $4 / 1e6, $5, substr($6, 1, 19); all += $3 }
    $1 !~ /^site:/ && $4 > 5e6 { print "a golang base was fetched that is not in the image"; wrong = 1 }
    END {
      printf "together %.1f MB; by its own log, the registry has sent %.1f MB\n", all / 1e6, sent / 1e6
      exit wrong || sent > all + 1e6
    }
  ' "$scratch/rebuilt" || fail "more was fetched than had to be"
}

# The manifest that the registry has under a name, as it is.
manifest() { curl -fsS --noproxy '*' -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$hub/v2/$1/manifests/latest"; }

# Builds that push and keep nothing: pass_on NAME FOLDER FLAG...
pass_on() {
  local name=$1 line steps fetched sent
  enter "$2"
  shift 2
  line=$(($(wc -l <"$scratch/registry.log") + 1))
  rebuild "$name:latest" "$@" --push -t "$hub/again/$name:latest"
  read -r steps fetched _ < <(told "$scratch/events.json")
  sent=$(sent_since "$line")
  [[ $steps -eq 0 && $fetched -eq 0 && $sent -lt 100000 ]] ||
    fail "$name: $steps steps were run, $fetched bytes were fetched, the registry sent $sent"
  cmp <(manifest "demo/$name") <(manifest "again/$name") || fail "$name: the manifests differ"
  echo "$steps steps run, $fetched bytes of layers fetched ($sent bytes of lists and settings); the manifest is that of the first store"
}

pass_images_on() {
  note "And a fourth, which pushes under other names. Nothing is run here, and the images stay in the registry, so no layer comes here \
at all; not even for the last, which holds its base and names it where the registry has it:"
  use "$place/fourth"
  pass_on buildinfo buildinfo --build-arg VERSION=1.2.3
  pass_on site site --build-context "golang:alpine=docker-image://$hub/library/golang:alpine"
}

registries() {
  title "A registry in the middle"
  say "A docker-registry on this machine stands for one that many machines share."
  start_registry
  push_bases
  pull_bases
  push_images
  rebuild_images
  pass_images_on
  stop_registry
  export GALLEY_ROOT=$first
}
