//! Texts, and the commands in them.

use super::{Link, Simple, commands, is_shell};
use proptest::prelude::*;

/// `A=b;go|build` for `A=b go build`.
fn shown(text: &str) -> Vec<String> {
    let show = |command: &Simple| {
        let texts =
            |words: &[crate::Word]| words.iter().map(|word| word.text.clone()).collect::<Vec<_>>().join("|");
        let assignments = texts(&command.assignments);
        let words = texts(&command.words);
        if assignments.is_empty() { words } else { format!("{assignments};{words}") }
    };
    commands(text).iter().map(show).collect()
}

#[test]
fn commands_are_cut_at_operators() {
    assert_eq!(shown("a b&&c||d | e;f & g\nh"), ["a|b", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(
        shown("cd /src && CGO_ENABLED=0 GOOS=linux go build"),
        ["cd|/src", "CGO_ENABLED=0;GOOS=linux;go|build"].map(|text| text.replace(";GOOS", "|GOOS"))
    );
    assert_eq!(shown("(a; b)"), ["a", "b"]);
    assert_eq!(shown("a \\\n  b \\\r\n c"), ["a|b|c"]);
}

#[test]
fn quotes_and_substitutions_stay_in_words() {
    assert_eq!(shown(r#"go build -ldflags="-s -w" 'a;b' a\ b"#), ["go|build|-ldflags=-s -w|a;b|a b"]);
    assert_eq!(
        shown(r#"echo "$(a && b "c)")" ${x:-a b} `d; e` <(f g)"#),
        [r#"echo|$(a && b "c)")|${x:-a b}|`d; e`|<(f g)"#]
    );
    assert_eq!(shown(r#"echo "a\"b\c" $HOME/x"#), [r#"echo|a"b\c|$HOME/x"#]);
}

#[test]
fn comments_and_redirections_go() {
    assert_eq!(shown("a # b; c\nd 2>/dev/null >x <y e 2>&1 &> z"), ["a", "d|e"]);
    assert_eq!(shown("a#b"), ["a#b"]);
}

#[test]
fn bodies_of_here_documents_go() {
    assert_eq!(shown("cat <<E > f\napt-get update\nE\nb"), ["cat", "b"]);
    assert_eq!(shown("cat <<-'E'; x\n\ta\n\tE\nb"), ["cat", "x", "b"]);
    assert_eq!(shown("cat <<E\nnever ended"), ["cat"]);
    assert_eq!(shown("cat <<<word b"), ["cat|b"]);
}

#[test]
fn the_grammar_is_no_command() {
    assert_eq!(
        shown("if [ -f a ]; then b; elif c; then d; else e; fi; f"),
        ["[|-f|a|]", "b", "c", "d", "e", "f"]
    );
    assert_eq!(shown("for x in go build; do y $x; done"), ["y|$x"]);
    assert_eq!(shown("case $a in x) b;; esac"), ["b"]);
    assert_eq!(shown("! a && { b; }"), ["a", "b"]);
    assert_eq!(shown("'if' a"), ["if|a"]);
}

#[test]
fn wrappers_go_and_inner_scripts_come() {
    assert_eq!(shown("sudo -E env A=b exec go build"), ["A=b;go|build"]);
    assert_eq!(shown("bash -lc 'a && b' x"), ["bash|-lc|a && b|x", "a", "b"]);
    assert_eq!(shown("exec"), ["exec"]);
}

#[test]
fn links_tell_whether_a_failure_is_seen() {
    let links = |text: &str| commands(text).iter().map(|command| command.link).collect::<Vec<_>>();
    assert_eq!(links("a && b; c\nd"), [Link::Tied, Link::Loose, Link::Loose, Link::End]);
    assert_eq!(links("if a; then b; fi"), [Link::Tied, Link::Loose]);
}

#[test]
fn questions_of_a_command() {
    let found = commands("/usr/local/go/bin/go -C x build -vR --Q");
    let [go] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(go.program(), "go");
    assert!(go.has("-C") && go.has_letter('R') && !go.has_letter('Q'));
    assert_eq!(go.operands().collect::<Vec<_>>(), ["x", "build"]);
    assert!(is_shell("/bin/bash") && !is_shell("powershell"));
    assert!(commands("").is_empty() && commands("A=b").iter().all(|command| command.program().is_empty()));
}

proptest! {
    /// Foreign text: no panic, and every word's place is in the text.
    #[test]
    fn any_text_is_read(text in "(sh -c|go|<<E|\nE\n|[$(){}`'\"\\\\;&|<>#= \n\ta-c\u{fc}0]){0,40}") {
        for command in commands(&text) {
            for word in command.words.iter().chain(&command.assignments) {
                prop_assert!(text.get(word.span.range()).is_some());
            }
        }
    }
}
