//! The rules of ignore files, and that pruning by them loses nothing.

use super::{Ignore, MAX_WILDCARDS, Matcher, STEPS_FREE, clean};
use crate::glob;
use proptest::prelude::*;

fn ignore(text: &str) -> Ignore {
    Ignore::parse(text.as_bytes()).expect(text)
}

fn ignored(text: &str, paths: &[&str]) -> Vec<bool> {
    let ignore = ignore(text);
    paths.iter().map(|path| ignore.matches(path.as_bytes())).collect()
}

/// A line, its text, and whether it ignores.
type Decided = Option<(usize, &'static str, bool)>;

/// Each row: ignore file, path, the line that decides and what it says.
#[test]
fn the_rule_that_decides() {
    let rows: &[(&str, &str, Decided)] = &[
        ("# c\n\n /foo/ \n", "foo/a/b", Some((3, "/foo/", true))),
        ("a\n!a/b", "a/b/c", Some((2, "!a/b", false))),
        ("a\n!a/b", "a/c", Some((1, "a", true))),
        ("a\n!a/b\n*/b/c", "a/b/c", Some((3, "*/b/c", true))),
        // A pattern that changes nothing does not decide.
        ("a\na/b", "a/b", Some((1, "a", true))),
        ("!a", "a", None),
        ("a", "b", None),
        ("*", ".", None),
    ];
    for (text, path, expected) in rows {
        let ignore = ignore(text);
        let verdict = ignore.verdict(path.as_bytes());
        let rules: Vec<_> = ignore.rules().collect();
        let said = verdict.rule.map(|index| (rules[index].line, rules[index].text, verdict.ignored));
        assert_eq!(
            said,
            expected.map(|(line, text, ignored)| (line, text.as_bytes(), ignored)),
            "{text:?} {path}"
        );
    }
}

/// Each row: ignore file, paths that are ignored, paths that are not.
#[test]
fn the_rules() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("foo", &["foo", "foo/a", "foo/a/b"], &["a/foo", "foobar", "fo"]),
        ("/foo/", &["foo", "foo/a"], &["a/foo"]),
        ("a/./b/../c//", &["a/c", "a/c/d"], &["a/b"]),
        ("*.md", &["a.md", "a.md/x"], &["d/a.md"]),
        ("*/*.md", &["d/a.md"], &["a.md", "d/e/a.md"]),
        ("**/*.md", &["a.md", "d/a.md", "d/e/a.md"], &["a.mdx"]),
        ("**", &["a", "a/b"], &[]),
        ("**/foo", &["foo", "a/foo", "a/foo/b"], &["xfoo", "a/xfoo"]),
        ("**foo", &["foo", "xfoo", "a/xfoo"], &["foox"]),
        ("a/**", &["a/b", "a/b/c"], &["a", "b"]),
        ("a/**/b", &["a/b", "a/x/b", "a/x/y/b", "a/b/c"], &["a/xb", "b"]),
        ("a**", &["a", "ab", "ab/c"], &["ba"]),
        ("a?c", &["abc"], &["a/c", "ac"]),
        ("[a-c]", &["b", "b/x"], &["d"]),
        ("\\!x", &["!x"], &["x"]),
        ("a\\*b", &["a*b"], &["axb"]),
        ("# c\n#d\n  # e", &["# e"], &["# c", "#d", "c"]),
        ("*\n!a", &["b"], &["a", "a/b"]),
        ("*\n!a\n", &["b"], &["a"]),
        ("!a\n*", &["a", "b"], &[]),
        ("*\n! a/", &["b"], &["a", "a/x"]),
        ("a\n!a/b", &["a", "a/c"], &["a/b", "a/b/c"]),
        (
            "**/*.md\n!README*.md\nREADME-secret.md",
            &["a.md", "README-secret.md", "d/README.md"],
            &["README.md"],
        ),
        ("*\n!**/*.go", &["a.c", "src", "src/a.c"], &["a.go", "src/a.go"]),
        ("a.b", &["a.b"], &["axb"]),
        ("\r\n\t foo \t\r\n", &["foo"], &[" foo"]),
        ("..", &[".."], &["a"]),
        (".", &[], &["a", ".a"]),
        ("/", &[], &["a"]),
        ("a\n!a\na", &["a"], &[]),
        ("ü?", &["üß"], &["ü"]),
    ];
    for (text, yes, no) in rows {
        assert_eq!(ignored(text, yes), vec![true; yes.len()], "{text:?} ignores {yes:?}");
        assert_eq!(ignored(text, no), vec![false; no.len()], "{text:?} does not ignore {no:?}");
    }
}

#[test]
fn the_root_and_the_mark_at_the_start() {
    assert_eq!(ignored("**\n.", &[".", ""]), [false, false]);
    assert_eq!(ignored("\u{feff}foo", &["foo"]), [true]);
    assert_eq!(ignored("\u{feff}# foo", &["# foo"]), [false]);
}

#[test]
fn paths_need_not_be_text() {
    let ignore = Ignore::parse(b"\xFF*\n").expect("pattern");
    assert!(ignore.matches(b"\xFFa") && !ignore.matches(b"\xFEa"));
}

#[test]
fn errors_name_the_line() {
    for (text, message, range) in [
        ("ok\n!\n", "`!` is not a valid pattern: `!` needs a pattern behind it", 3..4),
        ("[a\n", "`[a` is not a valid pattern: `[` is not closed", 0..2),
        ("a\\", "`a\\` is not a valid pattern: nothing follows the last `\\`", 0..2),
    ] {
        let error = Ignore::parse(text.as_bytes()).expect_err(text);
        assert_eq!((error.message().as_str(), error.span().range()), (message, range));
    }
}

#[test]
fn folders_that_hold_no_exception_can_be_skipped() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("*", &[], &["a", "a/b"]),
        ("*\n!a/b/c", &["a", "a/b"], &["b", "a/c", "a/b/c", "ab"]),
        ("*\n!a/*/c", &["a", "a/x"], &["b", "a/x/y"]),
        ("*\n!**/keep", &["a", "a/b"], &[]),
        ("*\n!a/**", &["a", "a/b"], &["b"]),
        ("*\n!a/**/b", &["a", "a/x/y"], &["b"]),
        ("*\n!a[bc]/d", &["ab", "ac"], &["ad", "a"]),
    ];
    for (text, walked, skipped) in rows {
        let ignore = ignore(text);
        assert!(walked.iter().all(|path| ignore.may_readmit_below(path.as_bytes())), "{text:?}: {walked:?}");
        assert!(
            skipped.iter().all(|path| !ignore.may_readmit_below(path.as_bytes())),
            "{text:?}: {skipped:?}"
        );
    }
}

#[test]
fn exclusions_of_copy_are_read_without_comments() {
    let ignore = Ignore::from_patterns([&b"#a"[..], b" ", b"!#a/b"]).expect("patterns");
    assert!(ignore.matches(b"#a/c") && !ignore.matches(b"#a/b"));
    assert!(ignore.has_exceptions() && !ignore.is_empty());
}

#[test]
fn cleaning_is_lexical() {
    for (path, cleaned) in [
        ("", "."),
        (".", "."),
        ("/", "/"),
        ("//a", "/a"),
        ("a/..", "."),
        ("a/../..", ".."),
        ("/..", "/"),
        ("../a/./b/", "../a/b"),
        ("a//b", "a/b"),
    ] {
        assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path:?}");
    }
}

/// BuildKit's answers for many rules: first the files of a context, then, behind an empty line, the text of an ignore file
/// with `\n`, `\r` and `\\`, and for each file whether it is kept; or that the text is refused.
const VECTORS: &str = include_str!("vectors.tsv");

/// Where galley decides otherwise: an escaped letter is the letter. In Docker it becomes an escape of a regular expression,
/// which `\a`, a bell, is.
const DIFFERENT: [&str; 1] = ["dir/\\\\a"];

fn unescaped(text: &str) -> String {
    text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace('\0', "\\")
}

/// Whether a file is kept, when it is reached through its folders as in a walk.
fn kept(ignore: &Ignore, file: &str) -> bool {
    let ends = file.match_indices('/').map(|(at, _)| at).chain([file.len()]);
    let (ignored, _) = ends.fold((false, ignore.root()), |(_, above), end| {
        ignore.check(&above, file.get(..end).expect("a boundary").as_bytes())
    });
    !ignored
}

#[test]
fn the_same_files_as_in_buildkit() {
    let (files, rules) = VECTORS.split_once("\n\n").expect("two parts");
    let mut differences = Vec::new();
    for line in rules.lines() {
        let (text, wanted) = line.rsplit_once('\t').expect("text and answer");
        let answer = match Ignore::parse(unescaped(text).as_bytes()) {
            Ok(ignore) => files.lines().map(|file| if kept(&ignore, file) { '1' } else { '0' }).collect(),
            Err(_) => "ERROR".to_owned(),
        };
        if (answer != wanted) != DIFFERENT.contains(&text) {
            differences.push(format!("{text}\n  buildkit {wanted}\n  galley   {answer}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Small alphabets, so that patterns and paths meet.
fn pattern_file() -> impl Strategy<Value = String> {
    let pattern = prop_oneof!["!?[ab*?/]{1,6}", "!?([ab*?/]|\\[\\^?[ab]\\]|\\*\\*/){1,6}"];
    prop::collection::vec(pattern, 0..12).prop_map(|lines| lines.join("\n"))
}

/// One pattern beside one path.
fn compared(matcher: &Matcher, path: &[u8]) -> bool {
    match matcher {
        Matcher::Exact(text) => path == text,
        Matcher::Prefix(prefix) => path.starts_with(prefix),
        Matcher::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path),
        Matcher::Tokens(tokens) => glob::matches(tokens, path),
    }
}

/// The rule that decides of `path` when every pattern is compared, in order, with it and with all that is above it.
fn decided_plainly(ignore: &Ignore, path: &str) -> Option<usize> {
    let mut above = vec![false; ignore.patterns.len()];
    let mut rule = None;
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        let mut ignored = false;
        rule = None;
        for (index, pattern) in ignore.patterns.iter().enumerate() {
            let matches = pattern.readmits == ignored && compared(&pattern.matcher, &path.as_bytes()[..end]);
            above[index] |= matches;
            if above[index] {
                (ignored, rule) = (!pattern.readmits, Some(index));
            }
        }
    }
    rule
}

#[test]
fn patterns_without_wildcards_are_looked_up() {
    let text: String = (0..100_000).map(|number| format!("d/{number}\n!e/{number}\n")).collect();
    let ignore = ignore(&text);
    for number in 0..20_000 {
        assert!(ignore.matches(format!("d/{number}/f").as_bytes()));
        assert!(!ignore.matches(format!("e/{number}").as_bytes()));
        assert!(!ignore.may_readmit_below(format!("d/{number}").as_bytes()));
    }
    assert!(ignore.may_readmit_below(b"e"));
}

#[test]
fn patterns_with_wildcards_are_limited() {
    let text = |count: usize| (0..count).map(|number| format!("*{number}\n")).collect::<String>();
    assert!(Ignore::parse(text(MAX_WILDCARDS).as_bytes()).is_ok());
    let error = Ignore::parse(text(MAX_WILDCARDS + 1).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("no more than 100000 patterns may have wildcards"), "{error}");
    assert!(error.to_string().contains("*100000"), "{error}");
}

/// Comparing each with each would take minutes.
#[test]
fn patterns_with_wildcards_are_looked_up_too() {
    let text: String = (0..10_000)
        .map(|number| format!("**/{number}/*.o\n*/x{number}?\ny{number}/**\n**z{number}\n!*/*/w{number}*\n"))
        .collect();
    let ignore = ignore(&text);
    for number in (0..10_000).step_by(13) {
        let paths = ["a/b/{}/c.o", "a/x{}b", "y{}/a/b", "a/bz{}", "a/b/v"]
            .map(|path| path.replace("{}", &number.to_string()));
        let ignored = paths.each_ref().map(|path| ignore.matches(path.as_bytes()));
        assert_eq!(ignored, [true, true, true, true, false], "{number}");
        assert!(ignore.may_readmit_below(b"a"));
        assert!(!ignore.may_readmit_below(format!("a/b/v{number}").as_bytes()));
    }
}

/// Each of these patterns is followed through each name.
#[test]
fn patterns_that_are_all_followed_are_given_up() {
    let class = |number: u32| char::from_u32(0x4E00 + number).unwrap();
    let text: String = (0..5_000).map(|number| format!("*[a-k{}]*x\n", class(number))).collect();
    let hostile = ignore(&text);
    let _ = hostile.matches("a".repeat(10).as_bytes());
    assert!(hostile.effort.spent() > 5_000 * 9);
    hostile.in_time().expect("a few are compared");
    // As if there had been thousands.
    hostile.effort.spend(STEPS_FREE, 0);
    assert!(hostile.clone().in_time().is_err());
    // Who asks on comes to an end.
    assert!(hostile.matches(b"another") && !hostile.may_readmit_below(b"another"));
}

/// So it takes nothing from those that have many and short ways.
#[test]
fn patterns_that_differ_in_letters_cost_nothing() {
    let text: String = (0..1_000).map(|number| format!("**/*a{number}*/b\n!*.{number}\n")).collect();
    let ignore = ignore(&text);
    (0..1_000).for_each(|number| {
        assert!(ignore.verdict(format!("src/a{number}x/b/c.{number}").as_bytes()).rule.is_some())
    });
    assert_eq!(ignore.effort.spent(), 0);
}

proptest! {
    /// What is looked up decides as comparing would.
    #[test]
    fn looking_up_changes_nothing(text in pattern_file(), path in "[ab](/[ab]{1,2}){0,3}") {
        if let Ok(ignore) = Ignore::parse(text.as_bytes()) {
            prop_assert_eq!(ignore.verdict(path.as_bytes()).rule, decided_plainly(&ignore, &path), "{:?} {}", text, path);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), path in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(ignore) = Ignore::parse(&bytes) {
            let _ = (ignore.matches(&path), ignore.may_readmit_below(&path));
        }
    }

    /// What a walker skips has nothing below it that counts.
    #[test]
    fn pruning_is_sound(text in pattern_file(), folder in "[ab](/[ab]){0,2}", below in "[ab](/[ab]){0,2}") {
        if let Ok(ignore) = Ignore::parse(text.as_bytes()) {
            let path = format!("{folder}/{below}");
            if ignore.matches(folder.as_bytes()) && !ignore.may_readmit_below(folder.as_bytes()) {
                prop_assert!(ignore.matches(path.as_bytes()), "{text:?} {folder} {path}");
            }
        }
    }
}
