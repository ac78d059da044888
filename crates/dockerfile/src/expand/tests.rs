//! The forms of expansion, one table per topic.

use super::{Expanded, Expander};
use crate::error::{Error, ErrorKind};
use crate::heredoc::Heredoc;
use crate::span::{Span, Word};

const ENVIRONMENT: [(&str, &str); 9] = [
    ("HOME", "/root"),
    ("EMPTY", ""),
    ("SHELL", "bash"),
    ("LIST", "a b  c"),
    ("FILE", "lib.tar.gz"),
    ("PATHS", "/usr/usr/bin"),
    ("STARS", "a*b?c\\d"),
    ("이름", "값"),
    ("A1_", "mixed"),
];

fn environment(name: &str) -> Option<String> {
    ENVIRONMENT.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn word(text: &str) -> Word {
    Word::new(text, Span::new(100, 100 + text.len()))
}

fn expand(text: &str) -> Result<Expanded, Error> {
    Expander::new('\\', &environment).word(&word(text))
}

fn expect(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(expand(text).map(|expanded| expanded.text).as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn plain_variables() {
    expect(&[
        ("$HOME", "/root"),
        ("${HOME}", "/root"),
        ("x${HOME}y", "x/rooty"),
        ("$HOMEy", ""),
        ("$HOME/y$SHELL.", "/root/ybash."),
        ("$NOPE|${NOPE}", "|"),
        ("$", "$"),
        ("$.$ $", "$.$ $"),
        ("$A1_-", "mixed-"),
        ("$12a", "a"),
        ("$$x", "x"),
        ("$@@", "@"),
        ("$이름!", "값!"),
        ("${1:-one}${*:-star}${-:-dash}", "onestardash"),
    ]);
}

#[test]
fn defaults_and_alternatives() {
    expect(&[
        ("${NOPE:-w}${EMPTY:-w}${HOME:-w}", "ww/root"),
        ("${NOPE-w}${EMPTY-w}${HOME-w}", "w/root"),
        ("${NOPE:+w}${EMPTY:+w}${HOME:+w}", "w"),
        ("${NOPE+w}${EMPTY+w}${HOME+w}", "ww"),
        ("${HOME:?m}${EMPTY?m}", "/root"),
        ("${NOPE:-$HOME/x}", "/root/x"),
        ("${NOPE:-${NADA:-${HOME}}}!", "/root!"),
        ("${NOPE:-\"a } b\"}", "a } b"),
        ("${NOPE:-\\}}", "}"),
        ("${NOPE:-}", ""),
        ("${NOPE:-{a}", "{a"),
        ("${NOPE}}", "}"),
        ("a${SHELL:+-${SHELL}}b", "a-bashb"),
    ]);
}

#[test]
fn trimming() {
    expect(&[
        ("${FILE%.*}", "lib.tar"),
        ("${FILE%%.*}", "lib"),
        ("${FILE#*.}", "tar.gz"),
        ("${FILE##*.}", "gz"),
        ("${FILE#lib}${FILE%gz}", ".tar.gzlib.tar."),
        ("${FILE#x}", "lib.tar.gz"),
        ("${FILE#}${FILE%}", "lib.tar.gzlib.tar.gz"),
        ("${FILE#???}", ".tar.gz"),
        ("${FILE##*}", ""),
        ("${FILE#*}", "lib.tar.gz"),
        ("${FILE%%*}", ""),
        ("${STARS#a\\*}", "b?c\\d"),
        ("${STARS%\\\\*}", "a*b?c"),
        ("${STARS#*\\?}", "c\\d"),
        ("${NOPE#x}${EMPTY%%*}", ""),
        ("${FILE%$NOPE}", "lib.tar.gz"),
    ]);
}

#[test]
fn replacing() {
    expect(&[
        ("${PATHS/usr/opt}", "/opt/usr/bin"),
        ("${PATHS//usr/opt}", "/opt/opt/bin"),
        ("${PATHS//\\//:}", ":usr:usr:bin"),
        ("${PATHS/\\/usr/}", "/usr/bin"),
        ("${FILE/.*/}", "lib"),
        ("${FILE//?/x}", "xxxxxxxxxx"),
        ("${FILE/nope/x}", "lib.tar.gz"),
        ("${SHELL//s/$HOME}", "ba/rooth"),
        ("${SHELL///-}", "-b-a-s-h-"),
        ("${SHELL//*/x}", "x"),
        ("${NOPE/a/b}", ""),
        ("${EMPTY//*/x}", "x"),
    ]);
}

#[test]
fn quotes_and_escapes() {
    expect(&[
        ("'$HOME'", "$HOME"),
        ("\"$HOME\"", "/root"),
        ("\"'$HOME'\"", "'/root'"),
        ("'\"'", "\""),
        ("\\$HOME", "$HOME"),
        ("\\\\$HOME", "\\/root"),
        ("'\\$HOME'", "\\$HOME"),
        ("\"\\$HOME \\\" \\\\ \\n\"", "$HOME \" \\ \\n"),
        ("a\\tb", "atb"),
        ("a\\", "a"),
        ("\\'a", "'a"),
        ("he'll'o", "hello"),
        ("''", ""),
        ("안'녕'", "안녕"),
    ]);
}

#[test]
fn a_backtick_can_be_the_escape() {
    let expander = Expander::new('`', &environment);
    let text = |text: &str| expander.word(&word(text)).map(|expanded| expanded.text);
    assert_eq!(text("`$HOME C:\\dir").as_deref(), Ok("$HOME C:\\dir"));
    assert_eq!(text("\"`\"`$`\\\"").as_deref(), Ok("\"$`\\"));
}

#[test]
fn words_are_cut_after_expansion() {
    let words = |text: &str| {
        let expanded = Expander::new('\\', &environment).words(&word(text));
        expanded.map(|expanded| expanded.words).unwrap_or_default()
    };
    assert_eq!(words("x${LIST}y"), ["xa", "b", "cy"]);
    assert_eq!(words("\"x${LIST}\"y z"), ["xa b  cy", "z"]);
    assert_eq!(words("a\\ b  'c d'"), ["a b", "c d"]);
    assert_eq!(words(" $NOPE "), [""; 0]);
    assert_eq!(words("8${NOPE:-0}8"), ["808"]);
}

#[test]
fn names_are_reported() {
    let names = |text: &str| {
        let expanded = expand(text).unwrap_or_default();
        let join =
            |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(",");
        (join(&expanded.used), join(&expanded.undefined))
    };
    let pair = |used: &str, undefined: &str| (used.to_owned(), undefined.to_owned());
    assert_eq!(names("$HOME ${NOPE} '$SHELL'"), pair("HOME", "NOPE"));
    assert_eq!(names("${HOME:-$NADA}${NOPE+$SHELL}"), pair("HOME,SHELL", "NADA,NOPE"));
}

#[test]
fn what_is_wrong_and_where() {
    let modifier = |modifier: &str| ErrorKind::UnsupportedModifier { modifier: modifier.to_owned() };
    let required =
        |message: &str| ErrorKind::RequiredVariable { name: "NOPE".to_owned(), message: message.to_owned() };
    let cases = [
        ("a${HOME", ErrorKind::MissingBrace, 101..107),
        ("a${HOME:-b", ErrorKind::MissingBrace, 101..110),
        ("${", ErrorKind::MissingBrace, 100..102),
        ("${}", ErrorKind::BadSubstitution, 100..102),
        ("${{a}}", ErrorKind::BadSubstitution, 100..102),
        ("${:-a}", ErrorKind::BadSubstitution, 100..102),
        ("${HOME:=a}", modifier(":="), 100..108),
        ("${HOME=a}", modifier("="), 100..107),
        ("${HOME:#a}", modifier(":#"), 100..108),
        ("${HOME.a}", modifier("."), 100..107),
        ("${HOME/a}", ErrorKind::MissingSlash, 100..109),
        ("a 'b", ErrorKind::UnterminatedQuote { quote: '\'' }, 102..104),
        ("\"b", ErrorKind::UnterminatedQuote { quote: '"' }, 100..102),
        ("${NOPE:?say $SHELL}", required("say bash"), 100..119),
        ("${NOPE?}", required("must not be unset"), 100..108),
    ];
    for (text, kind, range) in cases {
        let error = expand(text).expect_err(text);
        assert_eq!((error.kind(), error.span().range()), (&kind, range), "{text}");
    }
    let empty = expand("${EMPTY:?}").expect_err("empty");
    assert_eq!(empty.message(), "EMPTY: must not be unset or empty");
    let escape = expand("${FILE#\\a}").expect_err("escape");
    assert_eq!(escape.message(), "invalid escape `\\a` in the pattern `\\a`");
}

#[test]
fn limits_hold() {
    let deep = "${a:-".repeat(super::MAX_NESTING + 1);
    assert!(matches!(
        expand(&deep).map_err(|error| error.kind().clone()),
        Err(ErrorKind::NestedTooDeep { .. })
    ));
    let fits = "${a:-".repeat(super::MAX_NESTING) + &"}".repeat(super::MAX_NESTING);
    assert!(expand(&fits).is_ok());
    let long = |_: &str| Some("x".repeat(super::MAX_EXPANDED / 2 + 8));
    let expander = Expander::new('\\', &long);
    assert!(expander.word(&word("$a")).is_ok());
    let error = expander.word(&word("$a$a")).expect_err("too long");
    assert!(matches!(error.kind(), ErrorKind::ExpandedTooLong { .. }));
}

#[test]
fn replacements_in_replacements_do_not_multiply_for_ever() {
    let nested = (0..super::MAX_NESTING).fold("x".to_owned(), |inner, _| format!("${{a//?/{inner}}}"));
    let value = |_: &str| Some("b".repeat(1000));
    let error = Expander::new('\\', &value).word(&word(&nested)).expect_err("1000 to the power of 64");
    assert!(matches!(error.kind(), ErrorKind::ExpandedTooLong { .. }));
}

#[test]
fn patterns_that_take_for_ever_are_refused() {
    let value = |_: &str| Some("a".repeat(60_000));
    let expander = Expander::new('\\', &value);
    let many = "*a".repeat(2000);
    for slow in [format!("${{a//{many}b/}}"), format!("${{a##{many}b}}"), format!("${{a%%b{many}}}")] {
        let error = expander.word(&word(&slow)).expect_err("it takes hours");
        assert!(matches!(error.kind(), ErrorKind::PatternTooSlow { .. }), "{error}");
    }
    // Stars in a row are one, and one pass over the longest value is nothing.
    let stars = "*".repeat(100_000);
    for quick in [format!("${{a##{stars}}}"), "${a//a/b}".to_owned(), "${a%%*b*}".to_owned()] {
        expander.word(&word(&quick)).unwrap();
    }
}

#[test]
fn heredocs_keep_their_quotes() {
    let heredoc = |expand, strip_tabs| Heredoc {
        name: "EOF".to_owned(),
        expand,
        strip_tabs,
        descriptor: None,
        body: "\t\"$HOME\" '$SHELL' \\$x `\n\ty\\\\\n".to_owned(),
        body_span: Span::new(0, 0),
    };
    let text =
        |heredoc: &Heredoc| Expander::new('`', &environment).heredoc(heredoc).map(|expanded| expanded.text);
    assert_eq!(text(&heredoc(true, true)).as_deref(), Ok("\"/root\" 'bash' $x `\ny\\\n"));
    assert_eq!(text(&heredoc(false, false)).as_deref(), Ok("\t\"$HOME\" '$SHELL' \\$x `\n\ty\\\\\n"));
}

#[test]
fn the_display_keeps_what_it_cannot_fill_in() {
    let expander = Expander::new('\\', &environment);
    for (text, shown) in [
        (
            "COPY --from=b $HOME/a \"$SHELL\" $NOPE ${NOPE:-1} /",
            "COPY --from=b /root/a \"bash\" $NOPE ${NOPE:-1} /",
        ),
        ("RUN echo \\$x \"a\\nb\" 'it'", "RUN echo \\$x \"a\\nb\" 'it'"),
        ("RUN echo it's", "RUN echo it's"),
        ("RUN a <<EOF <b", "RUN a <<EOF <b"),
    ] {
        assert_eq!(expander.for_display(text), shown);
    }
}
