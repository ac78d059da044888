use proptest::prelude::*;

use super::*;

fn git(text: &str) -> GitAddress {
    match Address::parse(text) {
        Ok(Some(Address::Git(git))) => git,
        other => panic!("{text}: {other:?}"),
    }
}

fn http(text: &str) -> HttpAddress {
    match Address::parse(text) {
        Ok(Some(Address::Http(http))) => http,
        other => panic!("{text}: {other:?}"),
    }
}

fn error(text: &str) -> String {
    Address::parse(text).unwrap_err().to_string()
}

#[test]
fn paths_are_no_addresses() {
    for path in ["a", "./git@h:x", "github.com/a/b", "ftp://h/x", "HTTP://h/x", "a@b/c", "C:\\x", "a b@h:x"] {
        assert_eq!(Address::parse(path), Ok(None), "{path}");
    }
}

#[test]
fn files_are_called_as_their_address_ends() {
    for (text, name) in [
        ("http://h/a/b.txt?x=/c#d", "b.txt"),
        ("http://h/a%20b", "a b"),
        ("https://h", "__unnamed__"),
        ("https://h/", "__unnamed__"),
        ("https://h/a/", "a"),
        ("https://h/..", "download"),
        ("https://h/a%0ab", "download"),
        ("https://h/x.git/y", "y"),
    ] {
        assert_eq!(String::from_utf8_lossy(&http(text).name), name, "{text}");
    }
}

#[test]
fn repositories() {
    let one = git("https://github.com/foo/bar.git#baz/qux:quux/../quuz");
    assert_eq!(one.remote, "https://github.com/foo/bar.git");
    assert_eq!(one.reference.as_deref(), Some("baz/qux"));
    assert_eq!(one.subdir, "quuz");
    let scp = git("git@github.com:foo/bar.git?branch=x&subdir=/a/#refs/heads/x");
    assert_eq!(scp.remote, "git@github.com:foo/bar.git");
    assert_eq!((scp.reference.as_deref(), scp.subdir.as_str()), (Some("refs/heads/x"), "a"));
    assert_eq!(git("ssh://git@h:22/x#:d").subdir, "d");
    assert_eq!(git("git://h/x?tag=v1").reference.as_deref(), Some("refs/tags/v1"));
    let all = git("http://h/x.git?keep-git-dir&submodules=0&mtime=commit&commit=ab12");
    assert_eq!((all.keep_git_dir, all.submodules, all.commit_times), (Some(true), false, true));
    assert_eq!(all.checksum.as_deref(), Some("ab12"));
    assert_eq!(all.shown(), "http://h/x.git");
    assert_eq!(git("https://me:pw@h/x.git#v1").shown(), "https://xxxxx:xxxxx@h/x.git#v1");
    assert!(matches!(Address::of_context("github.com/a/b"), Ok(Some(Address::Git(_)))));
}

#[test]
fn contradictions_are_told() {
    for (text, wanted) in [
        ("http://h/x.git?tag=a&branch=b", "it names both a tag and a branch"),
        ("http://h/x.git?tag=a#b", "it names two references: `b` and `refs/tags/a`"),
        ("http://h/x.git?ref=a&ref=a", "`ref` is given twice"),
        ("http://h/x.git?ref=", "`ref` has no value"),
        ("http://h/x.git?mtime=now", "mtime is checkout or commit, not `now`"),
        ("http://h/x.git?submodules=maybe", "submodules is true or false, not `maybe`"),
        ("http://h/x.git#--upload-pack=x", "`--upload-pack=x` is no branch, tag or commit"),
        ("http://h/x.git?ref=-u", "`-u` is no branch, tag or commit"),
        ("-u@h:x", "neither a user nor a host begins with a dash"),
        ("ssh://-u@h/x", "no user's name begins with a dash"),
        ("http://h:x/y", "this is no address: its port is no number"),
    ] {
        assert_eq!(error(text), wanted, "{text}");
    }
    assert!(error("http://h/x.git?depth=1").starts_with("`depth` is nothing that"));
}

#[test]
fn checksums() {
    let hex = "0123456789abcdef0123456789abcdef01234567";
    let pinned = |text: &str, checksum: &str| git(text).with_checksum(checksum).and_then(|git| git.check());
    assert_eq!(pinned("http://h/x.git", "0123"), Ok(()));
    assert_eq!(pinned(&format!("http://h/x.git#{hex}"), "0123"), Ok(()));
    assert!(pinned(&format!("http://h/x.git#{hex}"), "0124").is_err());
    assert!(pinned("http://h/x.git", "sha256:00").is_err());
    assert!(pinned("http://h/x.git?commit=0124", "0123").is_err());
    assert!(git("http://h/x.git?fetch-by-commit&commit=0124").check().is_err());
    let by_commit = git(&format!("http://h/x.git?fetch-by-commit&commit={hex}#main"));
    assert_eq!(by_commit.commit(), Some(hex));
    assert!(http("http://h/x").with_checksum(&format!("sha256:{}", "a".repeat(64))).is_ok());
    assert!(http("http://h/x").with_checksum(&format!("sha512:{}", "a".repeat(64))).is_err());
}

proptest! {
    #[test]
    fn no_source_panics(text in "\\PC{0,60}|((https?|git|ssh)://|[a-z-]{1,3}@)[a-z:/?#@.%&=-]{0,40}([.]git)?[a-z?#:=-]{0,12}") {
        if let Ok(Some(address)) = Address::of_context(&text) {
            let _ = address.shown();
            if let Address::Git(git) = address {
                prop_assert!(!git.remote.starts_with('-'));
                prop_assert!(git.reference.is_none_or(|reference| !reference.starts_with('-')));
                prop_assert!(git.subdir.split('/').all(|part| part != ".."));
            }
        }
    }
}

#[test]
fn a_name_that_no_file_can_have_is_told_before_anything_is_fetched() {
    let check = |bytes: usize| http(&format!("http://h/{}", "n".repeat(bytes))).check();
    assert_eq!(check(255), Ok(()));
    assert!(check(256).unwrap_err().to_string().ends_with("has 256 bytes: no name has more than 255"));
}
