#!/usr/bin/env python3
"""Trees of files for the end-to-end scripts.

trees.py archives DIR   writes the archives that the Dockerfile in e2e/rich adds; the same bytes every time
trees.py list PATH...   prints every file of a folder or tar archive, one line each, in an order that any two agree on:
                        name, kind, mode, owner, device, link target, hard-link group, digest, extended attributes
"""
import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile

EFFECTIVE_NET_BIND = bytes.fromhex("0100000200040000000000000000000000000000")
COMMANDS = "sh cat chmod chown cp echo env find id ln ls mkdir mkfifo mknod mv rm rmdir sleep stat test touch true".split()
KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFCHR: "c", stat.S_IFBLK: "b",
         stat.S_IFIFO: "p", stat.S_IFSOCK: "s"}
TYPES = {tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p"}


class Archive:
    """A tar archive with equal bytes for equal calls."""

    def __init__(self, path):
        self.tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape")

    def add(self, name, mode, content=b"", owner=(0, 0), kind=tarfile.REGTYPE, link="", device=(0, 0), xattrs=()):
        info = tarfile.TarInfo(name)
        info.mode, info.type, info.linkname, info.mtime, info.size = mode, kind, link, 1_500_000_000, len(content)
        (info.uid, info.gid), (info.devmajor, info.devminor) = owner, device
        info.pax_headers = {f"SCHILY.xattr.{key}": os.fsdecode(value) for key, value in xattrs}
        self.tar.addfile(info, io.BytesIO(content))

    def directory(self, name, mode=0o755, **more):
        self.add(name, mode, kind=tarfile.DIRTYPE, **more)

    def program(self, path):
        """A program of this machine with the libraries it needs."""
        libraries = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout.split()
        for name in [path] + [word for word in libraries if word.startswith("/")]:
            with open(name, "rb") as file:
                target = "bin/" + os.path.basename(name) if name == path else name.lstrip("/")
                self.add(target, 0o755, file.read())


def base(path):
    archive = Archive(path)
    for name, mode in [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)]:
        archive.directory(name, mode)
    archive.add("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:n:/:/bin/sh\n")
    archive.add("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")
    archive.program("/bin/busybox")
    for command in COMMANDS:
        archive.add(f"bin/{command}", 0o777, kind=tarfile.SYMTYPE, link="busybox")
    archive.program("/usr/sbin/setcap")


def things(path):
    """One of everything that an archive can hold."""
    archive = Archive(path)
    archive.directory("things", xattrs=[("user.place", b"here")])
    archive.add("things/null", 0o666, kind=tarfile.CHRTYPE, device=(1, 3))
    archive.add("things/zero", 0o666, kind=tarfile.CHRTYPE, device=(1, 5))
    archive.add("things/wide", 0o640, owner=(0, 6), kind=tarfile.BLKTYPE, device=(259, 70_000))
    archive.add("things/pipe", 0o640, owner=(5, 6), kind=tarfile.FIFOTYPE)
    archive.add("things/setuid", 0o6755, b"s", owner=(10, 20))
    archive.directory("things/sticky", 0o1777)
    archive.directory("things/setgid", 0o2770, owner=(60_000, 60_001))
    archive.add("things/bound", 0o755, b"b", xattrs=[("security.capability", EFFECTIVE_NET_BIND)])
    archive.add("things/noted", 0o600, b"n", xattrs=[("user.note", b"a=1\n\0\xff")])
    archive.add("things/one", 0o644, b"linked", owner=(7, 8))
    archive.add("things/sticky/two", 0o644, kind=tarfile.LNKTYPE, link="things/one")
    archive.add("things/dangling", 0o777, owner=(9, 9), kind=tarfile.SYMTYPE, link="../nowhere/" + "x" * 120)
    archive.add(os.fsdecode(b"things/caf\xe9 \xff"), 0o644, b"latin")
    archive.add("things/" + "/".join(["d" * 90] * 3) + "/deep", 0o644, b"deep")
    archive.add("things/unreadable", 0, b"no")


def far(path):
    """Owners that no range of an ordinary user reaches."""
    Archive(path).add("owned", 0o644, b"far", owner=(3_000_000, 4_000_000))


def archives(folder):
    for make in (base, things, far):
        make(os.path.join(folder, f"{make.__name__}.tar"))


def in_tar(path):
    with tarfile.open(path, errors="surrogateescape") as tar:
        for info in tar:
            name = info.name.removeprefix("./").strip("/")
            if name in ("", "."):
                continue
            if info.islnk():
                yield name, None, info.linkname.removeprefix("./").strip("/")
                continue
            kind = TYPES.get(info.type, "f")
            device = (info.devmajor, info.devminor) if kind in "bc" else None
            xattrs = {key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
                      for key, value in info.pax_headers.items() if key.startswith("SCHILY.xattr.")}
            content = hashlib.sha256(tar.extractfile(info).read()).hexdigest() if kind == "f" else None
            link = info.linkname if kind == "l" else None
            yield name, (kind, info.mode & 0o7777, info.uid, info.gid, device, link, content, xattrs), name


def in_folder(root):
    device = os.stat(root).st_dev
    first = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device]
        for name in folders + files:
            path = os.path.join(folder, name)
            found, name = os.lstat(path), os.path.relpath(path, root)
            kind = KINDS[stat.S_IFMT(found.st_mode)]
            inode = first.setdefault(found.st_ino, name) if kind != "d" else name
            if inode != name:
                yield name, None, inode
                continue
            device_number = (os.major(found.st_rdev), os.minor(found.st_rdev)) if kind in "bc" else None
            xattrs = {key: os.getxattr(path, key, follow_symlinks=False)
                      for key in os.listxattr(path, follow_symlinks=False)}
            content = None
            if kind == "f":
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            link = os.readlink(path) if kind == "l" else None
            yield name, (kind, found.st_mode & 0o7777, found.st_uid, found.st_gid, device_number, link, content,
                         xattrs), name


def listing(path):
    """Every name with what it is; hard links get what their first name is, and all names of the group."""
    facts, same = {}, {}
    for name, fact, first in (in_folder if os.path.isdir(path) else in_tar)(path):
        facts[name] = facts[first] if fact is None else fact
        same[name] = same.get(first, first)
    groups = {}
    for name, first in same.items():
        groups.setdefault(first, []).append(name)
    for name in sorted(facts):
        kind, mode, uid, gid, device, link, content, xattrs = facts[name]
        mode = "-" if kind == "l" else f"{mode:04o}"
        group = sorted(groups[same[name]])
        yield [name, kind, mode, f"{uid}:{gid}", device, link, group[0] if len(group) > 1 else None, content,
               sorted(xattrs.items())]


def main(command, *paths):
    if command == "archives":
        archives(*paths)
    elif command == "list":
        for path in paths:
            for name, *fields in listing(path):
                print(ascii(name), *[ascii(field) for field in fields if field not in (None, [])])
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
