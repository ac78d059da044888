# docker and podman of their own, in $folder: no daemon and no store of the machine is touched.
# shellcheck shell=bash disable=SC2154 # folder is set by whoever sources this
group=/${folder##*/}

docker() { command docker --host "unix://$folder/docker.sock" "$@"; }
podman() {
  command podman --root "$folder/podman" --runroot "$folder/podman-run" --tmpdir "$folder/podman-tmp" \
    --runtime runc --storage-driver vfs --cgroup-manager cgroupfs --events-backend file "$@"
}

start_docker() {
  local driver=$1
  rm -rf "$folder/docker.sock" "$folder/docker"
  dockerd --host "unix://$folder/docker.sock" --data-root "$folder/docker" --exec-root "$folder/docker-run" \
    --pidfile "$folder/docker.pid" --iptables=false --ip6tables=false --bridge=none --cgroup-parent "$group" \
    --storage-driver "$driver" >"$folder/dockerd.log" 2>&1 &
  for _ in {1..150}; do
    docker info >"$folder/docker.info" 2>/dev/null && grep -q '^ Server Version' "$folder/docker.info" && return
    kill -0 $! 2>/dev/null || break
    sleep 0.2
  done
  tail -5 "$folder/dockerd.log"
  return 1
}

stop_docker() {
  local containers process
  [[ -s $folder/docker.pid ]] || return
  mapfile -t containers < <(docker ps --all --quiet 2>/dev/null)
  [[ ${#containers[@]} -eq 0 ]] || docker rm --force "${containers[@]}" >/dev/null
  process=$(cat "$folder/docker.pid")
  kill "$process"
  # No child of this shell: `check` has started it.
  while kill -0 "$process" 2>/dev/null; do sleep 0.1; done
}
