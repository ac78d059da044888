#!/usr/bin/env python3
"""Asks a running buildkitd what COPY and ADD do, and writes its answers beside the questions.

    buildkitd --addr unix:///tmp/bk.sock --root /tmp/bk &
    BUILDCTL="buildctl --addr unix:///tmp/bk.sock" tests/golden/ask-buildkit.py tests/golden/copy.txt

The file holds cases. `base`, `stage` and `context` list files that exist before; `run` has the instructions. What
follows `answer` is written by this program: the files afterwards, or the error.

    d MODE UID:GID PATH [b|s|c|now]      f MODE UID:GID PATH CONTENT      l UID:GID PATH TARGET      h PATH FIRST_NAME
"""
import io, os, shlex, subprocess, sys, tarfile, tempfile

TIMES = {"base": 1300000000, "stage": 1400000000, "context": 1500000000}


def words(line):
    return [word.encode().decode("unicode_escape") for word in line.split()]


def entries(lines):
    for line in lines:
        kind, *rest = words(line)
        if kind in "df":
            uid, gid = rest[1].split(":")
            yield kind, rest[2], int(rest[0], 8), int(uid), int(gid), rest[3] if kind == "f" else None
        elif kind == "l":
            uid, gid = rest[0].split(":")
            yield kind, rest[1], 0o777, int(uid), int(gid), rest[2]
        else:
            yield kind, rest[0], 0, 0, 0, rest[1]


def archive(lines, mtime):
    out = io.BytesIO()
    tar = tarfile.open(fileobj=out, mode="w")
    first = {}
    for kind, path, mode, uid, gid, extra in entries(lines):
        if kind == "h":
            mode, uid, gid = first[extra]
        first[path] = (mode, uid, gid)
        info = tarfile.TarInfo(path)
        info.mode, info.uid, info.gid, info.mtime = mode, uid, gid, mtime
        info.type = {"d": tarfile.DIRTYPE, "f": tarfile.REGTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}[kind]
        if kind in "lh":
            info.linkname = extra
        data = extra.encode() if kind == "f" else b""
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    tar.close()
    return out.getvalue()


def lay_out(directory, lines, mtime, nanoseconds):
    for kind, path, mode, _, _, extra in entries(lines):
        full = os.path.join(directory, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if kind == "d":
            os.mkdir(full)
            os.chmod(full, mode)
        elif kind == "f":
            if extra.startswith("TAR:"):
                data = archive([line.replace("|", " ") for line in extra[4:].split(";")], mtime)
            else:
                data = extra.encode()
            with open(full, "wb") as file:
                file.write(data)
            os.chmod(full, mode)
        elif kind == "l":
            os.symlink(extra, full)
        else:
            os.link(os.path.join(directory, extra), full)
    for folder, folders, files in os.walk(directory, topdown=False):
        for name in folders + files:
            time = mtime * 10**9 + nanoseconds
            os.utime(os.path.join(folder, name), ns=(time, time), follow_symlinks=False)


def ask(case, number):
    with tempfile.TemporaryDirectory() as work:
        context = os.path.join(work, "context")
        extra = os.path.join(work, "extra")
        os.mkdir(context)
        os.mkdir(extra)
        os.chmod(context, 0o755)
        # BuildKit takes a file of the same size and time for the same file, so each case has its own time.
        lay_out(context, case["context"], TIMES["context"], number)
        for name in ("base", "stage"):
            with open(os.path.join(context, f".{name}.tar"), "wb") as file:
                file.write(archive(case[name], TIMES[name]))
        text = "FROM scratch AS stage\nADD .stage.tar /\n" if case["stage"] else ""
        text += "FROM scratch\n" + ("ADD .base.tar /\n" if case["base"] else "")
        text += "\n".join(case["run"]) + "\n"
        with open(os.path.join(extra, "Dockerfile"), "w") as file:
            file.write(text)
        out = os.path.join(work, "out.tar")
        command = shlex.split(os.environ.get("BUILDCTL", "buildctl")) + [
            "build", "--progress=plain", "--frontend", "dockerfile.v0", "--local", "context=" + context,
            "--local", "dockerfile=" + extra, "--output", "type=tar,dest=" + out, "--no-cache"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith(("error:", "ERROR:"))]
            return ["error " + (lines[-1] if lines else done.stderr[-300:])]
        return listing(out)


def listing(path):
    times = {value: key[0] for key, value in TIMES.items()}
    lines = []
    for member in tarfile.open(path):
        name = member.name.strip("/") or "."
        if name.startswith((".stage.tar", ".base.tar")):
            continue
        name = name.encode("unicode_escape").decode().replace(" ", "\\x20")
        owner, time = f"{member.uid}:{member.gid}", times.get(int(member.mtime), "now")
        if member.isdir():
            lines.append(f"d {member.mode:04o} {owner} {name} {time}")
        elif member.issym():
            lines.append(f"l {owner} {name} {member.linkname} {time}")
        elif member.islnk():
            lines.append(f"h {name} {member.linkname}")
        elif member.isreg():
            data = tarfile.open(path).extractfile(member.name).read().decode().encode("unicode_escape").decode()
            lines.append(f"f {member.mode:04o} {owner} {name} {data.replace(' ', chr(92) + 'x20')} {time}")
        else:
            lines.append(f"? {member.type} {name}")
    return sorted(lines, key=lambda line: line.split()[-3:])


def main():
    path = sys.argv[1]
    cases, header = [], []
    for line in open(path).read().splitlines():
        if line.startswith("== "):
            cases.append({"name": line[3:], "base": [], "stage": [], "context": [], "run": []})
            section = None
        elif not cases:
            header.append(line)
        elif line in ("base", "stage", "context", "run", "answer"):
            section = line
        elif line.strip() and section != "answer":
            cases[-1][section].append(line.strip())
    out = header
    for number, case in enumerate(cases):
        out.append("== " + case["name"])
        for section in ("base", "stage", "context", "run"):
            if case[section]:
                out += [section] + ["  " + line for line in case[section]]
        out += ["answer"] + ["  " + line for line in ask(case, number)]
        print(case["name"], file=sys.stderr)
    with open(path, "w") as file:
        file.write("\n".join(out) + "\n")


main()
