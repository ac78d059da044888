# shellcheck shell=bash
# Sourced by run.sh: what the demo does with each document. The commands are the documents' own, with galley for docker.
set -euo pipefail
: "${top:?}" "${cache:?}" "${scratch:?}"

document_1() {
  title "Document 1: build information on scratch"
  cd "$top/examples/buildinfo"
  run galley build --build-arg VERSION=1.2.3 -t buildinfo .
  run galley run --rm buildinfo print
}

document_2() {
  title "Document 2: HTTPS needs certificates"
  cd "$top/examples/https-client"
  run galley build -t my-service .
  run_failing "CA certificates: none" galley run --rm my-service
  run galley build -f Dockerfile.certs -t my-service:certs .
  run galley run --rm my-service:certs
}

document_3() {
  title "Document 3: dev, build and runtime"
  cd "$top/examples/videos"
  run galley build -t videos .
  run galley run --rm videos ./videos list
}

document_4() {
  title "Document 4: PONG"
  cd "$top/examples/pong"
  say "A --- strayed into the document's Dockerfile:"
  run_failing "unknown instruction" galley build -f Dockerfile.as-printed .
  say "Without it:"
  fresh_sums
  run galley build -t cnych/docker-multi-stage-demo:latest .
  local port
  port=$(free_port 8080)
  run galley run -d --name galley-demo-pong -p "$port:8080" cnych/docker-multi-stage-demo:latest
  ask "http://127.0.0.1:$port/ping" PONG
  run galley stop galley-demo-pong
  run galley rm galley-demo-pong
}

# A security update of one of Debian's Go packages changes its checksum. The example is then built from a copy.
fresh_sums() {
  tar -xOf "$cache/tars/goproxy.tar" usr/local/share/goproxy/go.sum >"$scratch/go.sum"
  if grep -qvxFf "$scratch/go.sum" go.sum; then
    say "Debian has updated its Go packages since go.sum was written; this build uses a copy of the folder with today's sums."
    cp -r . "$scratch/pong"
    cd "$scratch/pong"
    cp "$scratch/go.sum" go.sum
  fi
}

document_5() {
  title "Document 5: no such file or directory"
  cd "$top/examples/site"
  run galley build -t site .
  run galley build -f Dockerfile.staged -t site:staged .
  run galley build -f Dockerfile.distroless -t site:distroless .
  run galley images site --format "{{.Repository}}:{{.Tag}} -> {{.Size}}"

  note "Distroless has no musl, for which the program was linked:"
  local port
  port=$(free_port 4242)
  run_failing "exec /app/site" galley run --rm -p "$port:4242" site:distroless
  note "The file is there:"
  run galley create --name temp site:distroless
  show galley export temp ">" image-contents.tar
  galley export temp >"$scratch/image-contents.tar"
  run galley rm temp
  show tar -tvf image-contents.tar app/site
  tar -tvf "$scratch/image-contents.tar" app/site

  note "Another way to compile does not help:"
  run galley build -f Dockerfile.installsuffix -t site:distroless .
  run_failing "exec /app/site" galley run --rm -p "$port:4242" site:distroless
  note "Linking statically does:"
  run galley build -f Dockerfile.static -t site:distroless .
  run galley run -d --name galley-demo-site -p "$port:4242" site:distroless
  ask "http://127.0.0.1:$port/" "The galley"
  run galley stop galley-demo-site
  run galley rm galley-demo-site
}

# What the documents are about.
table() {
  local image about size
  printf '%-44s %10s  %s\n' image size what
  while IFS='|' read -r image about; do
    size=$(galley images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | awk -v image="$image" '$1 == image { print $2 }')
    printf '%-44s %10s  %s\n' "$image" "${size:-?}" "$about"
  done <<'END'
golang:1.22|base: Debian, compilers, Go
golang:alpine|base: musl, compilers, Node.js, Go
site:latest|one stage: all of golang:alpine, caches, sources
site:staged|run stage on alpine
site:distroless|static, on distroless
cnych/docker-multi-stage-demo:latest|gin on scratch
videos:latest|on alpine
buildinfo:latest|on scratch
my-service:latest|on scratch
my-service:certs|on scratch, with CA certificates
END
  note "The fifth document counted 808 MB for its single stage, on Docker Hub's larger golang:alpine, and 27 MB for its own static site."
}
