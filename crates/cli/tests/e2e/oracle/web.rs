//! What the cases fetch: `http://web.test/…` stands for a server of this machine, which both builders ask.

use std::{path::Path, process::Command};

use galley_testkit::{
    TarEntry, rootfs_tar,
    web::{Page, Web},
};

use super::{Kitchen, succeeded};

/// Where cases say the server is.
pub(super) const NAME: &str = "web.test";

const OLD: &str = "Thu, 02 Jan 2020 03:04:05 GMT";

/// Makes the repositories `repo` (with the submodule `sub`), whose commits are the same for ever.
const REPOSITORIES: &str = r#"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 HOME=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_AUTHOR_DATE='2021-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_COMMITTER_DATE='2021-01-01T00:00:00Z'
umask 077
start() { git -c init.defaultBranch=main init -q --template= "$1"; cd "$1"; }
(start sub; echo sub > sub.txt; git add .; git commit -qm sub)
git clone -q --bare sub sub.git
(start plain; mkdir -p dir/deep; echo top > top.txt; echo one > dir/one; echo two > dir/deep/two
 echo '#!/bin/sh' > run.sh; chmod 755 run.sh; ln -s dir link; git add .; git commit -qm one
 git tag light; git tag -a -m tag heavy; git branch side
 echo new > new.txt; git add .; git commit -qm two; git tag side-tag; git branch both; git tag both HEAD~1)
git clone -q --bare plain plain.git
(start with; echo w > w.txt
 git config -f .gitmodules submodule.mod.path mod; git config -f .gitmodules submodule.mod.url ../sub.git
 git add .; git update-index --add --cacheinfo 160000,$(git -C ../sub rev-parse HEAD),mod
 git commit -qm with)
git clone -q --bare with with.git
(start app; mkdir sub; echo one > one.txt; echo f > sub/f; printf 'one.txt\nsub\n' > .dockerignore; ln -s sub link
 printf 'FROM busybox\nCOPY . /all/\nRUN --mount=target=/m ls -A /m >/list\n' > Dockerfile
 printf 'FROM busybox\nCOPY . /sub/\n' > sub/dockerfile; printf 'FROM busybox\nCOPY sub /other/\n' > sub/Other
 printf 'FROM busybox\nCOPY .git/HEAD /head\nRUN --mount=target=/m test -d /m/.git\n' > Keep
 git add .; git commit -qm one; git tag v1; echo two > two.txt; git add .; git commit -qm two)
git clone -q --bare app app.git
"#;

/// Starts the server.
pub(super) fn start(kitchen: &Kitchen) -> Web {
    let web = Web::start();
    web.put("/a.txt", Page::new("a\n").with("Last-Modified", OLD).with("ETag", "\"a\""));
    web.put("/Made", Page::new("FROM busybox\nWORKDIR /w\nCOPY context /c\n").with("Last-Modified", OLD));
    web.put("/dir/b.txt", Page::new("b\n"));
    web.put("/dir/", Page::new("index\n"));
    web.put("/", Page::new("root\n"));
    web.put("/sp%20ace*", Page::new("space\n"));
    web.put("/named", Page::new("named\n").with("Content-Disposition", "attachment; filename=\"other.txt\""));
    web.put("/moved", Page { status: 302, ..Page::new("") }.with("Location", "/a.txt"));
    web.put("/empty", Page { status: 204, ..Page::new("") });
    web.put("/broken", Page { status: 500, ..Page::new("") });
    web.put("/closed", Page { authorization: Some("Bearer t0ken".to_owned()), ..Page::new("open\n") });
    web.put("/header", Page { authorization: Some("Basic aGVhZGVy".to_owned()), ..Page::new("head\n") });
    let archive = rootfs_tar(&[TarEntry::Directory("d", 0o750), TarEntry::File("d/f", 0o640, b"f\n")]);
    web.put("/old.tar", Page::new(old_archive()));
    web.put("/x.tar", Page::new(archive).with("Last-Modified", OLD));
    let repositories = kitchen.path("repositories");
    fs_err::create_dir(&repositories).unwrap();
    let mut shell = Command::new("sh");
    succeeded(shell.args(["-euc", REPOSITORIES]).current_dir(&repositories).output().unwrap());
    web.git(&repositories, None);
    web
}

/// An archive of files of two times.
fn old_archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, time) in [("old", 1_500_000_000), ("new", 1_600_000_000)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_mtime(time);
        archive.append_data(&mut header, name, &b"x"[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

/// `text` with the server's real address.
pub(super) fn real(web: &Web, text: &str) -> String {
    text.replace(NAME, &web.host())
}

/// `text` as cases write it.
pub(super) fn named(web: &Web, text: &str) -> String {
    text.replace(&web.host(), NAME)
}

/// Writes the real address into the file `path`.
pub(super) fn rewrite(web: &Web, path: &Path) {
    let text = fs_err::read(path).unwrap();
    if let Ok(text) = String::from_utf8(text).map(|text| real(web, &text)) {
        fs_err::write(path, text).unwrap();
    }
}
