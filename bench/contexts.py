"""The folders that are built: each function fills an empty one. Nothing here is timed."""

import functools
import os
import random
import shutil
import time

BUSYBOX = "/bin/busybox"


@functools.cache
def text():
    """16 MB of words, of which gzip leaves about two fifths; the same ones every time."""
    dice = random.Random(6)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(4000)]
    return "".join(word + dice.choice("  .(=\n") for word in dice.choices(words, k=2_500_000)).encode()


def some_text(dice, size):
    begin = dice.randrange(len(text()) - size)
    return text()[begin : begin + size]


def dockerfile(folder, *lines):
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")


def busybox(folder):
    """`busybox` as the files of a context, so that no registry is needed; with an /etc, as every image has that runs something."""
    root = folder / "root" / "bin"
    root.mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "busybox")
    for name in ("sh", "cat", "sleep", "true", "touch"):
        (root / name).symlink_to("busybox")
    (folder / "root" / "etc").mkdir()
    (folder / "root" / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")


def two_stages(folder):
    """The smallest build that has all kinds of steps; five files besides busybox's links."""
    busybox(folder)
    for name in ("main.go", "go.mod", "LICENSE"):
        (folder / name).write_text(f"{name}\n")
    dockerfile(
        folder, "FROM scratch AS builder", "COPY root /", "WORKDIR /src", "COPY main.go go.mod LICENSE ./", "RUN cat main.go > /app",
        "FROM scratch", "COPY --from=builder /app /app", 'ENTRYPOINT ["/app"]',
    )  # fmt: skip


def steps(count):
    """Trivial RUN steps, all of them new with another N."""

    def prepare(folder):
        busybox(folder)
        dockerfile(folder, "FROM scratch", "COPY root /", "ARG N", *(f"RUN true {index} $N" for index in range(count)))

    return prepare


def metadata(count):
    """ENV and LABEL steps, all of them new with another N."""

    def prepare(folder):
        two_stages(folder)
        lines = [f"ENV E{index}=$N" if index % 2 else f"LABEL l{index}=$N" for index in range(count)]
        text = (folder / "Dockerfile").read_text().splitlines()
        dockerfile(folder, *text, "ARG N", *lines)

    return prepare


def sleeping_stages(folder):
    busybox(folder)
    lines = ["FROM scratch AS base", "COPY root /"]
    for index in range(8):
        lines += [f"FROM base AS s{index}", "ARG N", f"RUN sleep 1; touch /f{index} # $N"]
    dockerfile(folder, *lines, "FROM scratch", *(f"COPY --from=s{index} /f{index} /" for index in range(8)))


def many_files(count, size=4000):
    """Files of `size` bytes, 250 to a folder, no two alike."""

    def prepare(folder):
        dice = random.Random(count)
        for index in range(count):
            path = folder / "files" / str(index // 250) / str(index)
            if index % 250 == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(f"// {index}\n".encode() + some_text(dice, size))
        dockerfile(folder, "FROM scratch", "COPY files /files")

    return prepare


def many_bytes(megabytes):
    """Files of at most 50 MB, of which gzip leaves about half."""

    def prepare(folder):
        (folder / "files").mkdir()
        dice = random.Random(megabytes)
        while megabytes_of(folder) < megabytes:
            with open(folder / "files" / str(len(os.listdir(folder / "files"))), "wb") as file:
                for _ in range(min(50, megabytes)):
                    file.write(dice.randbytes(400_000) + some_text(dice, 600_000))
        dockerfile(folder, "FROM scratch", "COPY files /files")

    return prepare


def megabytes_of(folder):
    return sum(entry.stat().st_size for entry in os.scandir(folder / "files")) // 1_000_000


def on_base(image):
    """One RUN on a base image."""

    def prepare(folder):
        dockerfile(folder, f"FROM {image()}", "RUN true")

    return prepare


# --- the Go program


def go_program(image):
    """A server of net/http, which pulls much of the standard library in."""

    def prepare(folder):
        (folder / "go.mod").write_text("module bench\n\ngo 1.22\n")
        edit_go(folder)
        go_dockerfile(folder, image(), 0)

    return prepare


def go_dockerfile(folder, image, cache):
    """With a cache mount of that number: another number is an empty cache."""
    dockerfile(
        folder, f"FROM {image} AS builder", "ENV PATH=/usr/local/go/bin:/usr/bin:/bin CGO_ENABLED=0 GOFLAGS=-buildvcs=false",
        "ENV GOCACHE=/cache GOPATH=/path GOTOOLCHAIN=local", "WORKDIR /src", "COPY go.mod main.go ./",
        f"RUN --mount=type=cache,id=go-{cache},target=/cache go build -o /app .",
        "FROM scratch", "COPY --from=builder /app /app",
    )  # fmt: skip


def edit_go(folder):
    lines = 'package main\n\nimport "net/http"\n\nfunc main() {\n\tprintln("%s")\n\thttp.ListenAndServe(":1", nil)\n}\n'
    (folder / "main.go").write_text(lines % time.time())
