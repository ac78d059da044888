use std::sync::Arc;

use galley_oci::{Entry, Kind, Meta, Tree};

use super::*;

fn entry(path: &str, kind: Kind) -> Entry {
    Entry { path: path.as_bytes().into(), meta: Meta::new(0o755), kind }
}

/// A stack of `files`, links (`FROM -> TO`) and the directories above them.
fn stack(files: &[&str]) -> Stack {
    let mut entries = vec![entry("", Kind::Directory { opaque: false })];
    for file in files {
        let (path, kind) = match file.split_once(" -> ") {
            Some((path, target)) => (path, Kind::Symlink { target: target.as_bytes().into() }),
            None => (*file, Kind::Fifo),
        };
        for (end, _) in path.match_indices('/') {
            if !entries.iter().any(|known| *known.path == path.as_bytes()[..end]) {
                entries.push(entry(&path[..end], Kind::Directory { opaque: false }));
            }
        }
        entries.push(entry(path, kind));
    }
    Stack::new(vec![Arc::new(Tree::from_entries(entries))])
}

fn told(files: &[&str], env: &[&str]) -> Option<String> {
    let mut all: Vec<OsString> = env.iter().map(OsString::from).collect();
    tell(&stack(files), &mut all);
    assert!(all.len() <= env.len() + 1);
    all.get(env.len()).map(|variable| variable.to_str().unwrap().to_owned())
}

const GO: [&str; 2] = ["usr/local/go/bin/go", "usr/local/go/pkg/tool/compile"];

#[test]
fn the_go_that_a_shell_would_find_is_told() {
    let usual = Some("GOROOT=/usr/local/go".to_owned());
    assert_eq!(told(&GO, &["PATH=/go/bin:/usr/local/go/bin:/bin"]), usual);
    assert_eq!(told(&GO, &["PATH=/bin"]), usual);
    assert_eq!(told(&GO, &[]), usual);
    let debian = [
        "usr/bin/go -> ../lib/go/bin/go",
        "usr/lib/go -> go-1.24",
        "usr/lib/go-1.24/bin/go",
        "usr/lib/go-1.24/pkg/tool/x",
    ];
    let both: Vec<_> = GO.into_iter().chain(debian).collect();
    assert_eq!(told(&both, &["PATH=/usr/bin:/usr/local/go/bin"]).unwrap(), "GOROOT=/usr/lib/go-1.24");
    assert_eq!(told(&both, &["PATH=/usr/local/go/bin:/usr/bin"]), usual);
}

#[test]
fn nothing_is_told_to_those_who_know_or_have_no_go() {
    assert_eq!(told(&GO, &["GOROOT=/other"]), None);
    assert_eq!(told(&GO, &["GOROOT="]), None);
    assert_eq!(told(&["bin/sh"], &["PATH=/bin"]), None);
    // Not Go's own folder: a wrapper, a game.
    assert_eq!(told(&["usr/games/go"], &["PATH=relative:/usr/games"]), None);
    assert_eq!(told(&["opt/bin/go"], &["PATH=/opt/bin"]), None);
    assert_eq!(told(&["bin/go -> nowhere"], &["PATH=/bin"]), None);
}
