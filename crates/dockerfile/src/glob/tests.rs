//! What COPY's wildcards match.

use super::{Glob, has_wildcards};
use crate::span::Span;

fn matches(pattern: &str, path: &[u8]) -> Option<bool> {
    Glob::new(pattern.as_bytes(), Span::default()).ok().map(|glob| glob.matches(path))
}

#[test]
fn wildcards_stay_inside_a_name() {
    for (pattern, path, expected) in [
        ("*.go", "main.go", true),
        ("*.go", "cmd/main.go", false),
        ("*/*.go", "cmd/main.go", true),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyy", false),
        ("*", "", true),
        ("?", "ü", true),
        ("?", "/", false),
        ("??", "ü", false),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[^a-c]x", "dx", true),
        ("[!a]x", "!x", true),
        ("[a\\]]x", "]x", true),
        ("[z-a]", "b", false),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("a\\bc", "abc", true),
        ("]", "]", true),
        ("**", "a/b", false),
        ("a/**/b", "a/x/b", true),
        ("a", "ab", false),
        ("", "", true),
    ] {
        assert_eq!(matches(pattern, path.as_bytes()), Some(expected), "{pattern} {path}");
    }
}

#[test]
fn bytes_that_are_no_text_are_characters() {
    assert_eq!(matches("?x", b"\xFFx"), Some(true));
    assert_eq!(matches("*", b"\xC3\x28"), Some(true));
    let glob = Glob::new(b"\xFF*", Span::default()).expect("pattern");
    assert!(glob.matches(b"\xFFab") && !glob.matches(b"\xFEab"));
}

#[test]
fn broken_patterns_are_errors_at_once() {
    for pattern in ["[", "[a", "[]a]", "[-]", "[a-]", "[^]", "a\\", "[\\", "x[", "[a-", "[]"] {
        assert_eq!(matches(pattern, b"zzz"), None, "{pattern}");
    }
}

#[test]
fn hostile_patterns_are_cheap() {
    let pattern = "*a".repeat(200) + "b";
    assert_eq!(matches(&pattern, "a".repeat(2000).as_bytes()), Some(false));
}

#[test]
fn plain_paths_have_no_wildcards() {
    assert!(!has_wildcards(b"a/b-c.d]"));
    assert!([&b"*"[..], b"a?", b"[a]", b"a\\b"].iter().all(|pattern| has_wildcards(pattern)));
}
