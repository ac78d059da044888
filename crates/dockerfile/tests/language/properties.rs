//! Foreign text may be wrong, it may not break the reader; and what must not change a meaning does not.

use galley_dockerfile::command::CopySource;
use galley_dockerfile::tree::{Node, print};
use galley_dockerfile::{
    Command, CommandLine, Dockerfile, Expander, Source, Span, Word, mount, parse, parse_onbuild,
};
use proptest::prelude::*;

/// Pieces of Dockerfiles, so that the readers get far.
const PIECES: [&str; 19] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ONBUILD",
    "ENV",
    "HEALTHCHECK",
    "CMD",
    "USER",
    "--mount=type=cache,target=/a",
    "--from=b",
    "<<EOF",
    "<<-'E'",
    "EOF",
    "\\",
    "[\"a\",",
    "\"b\"]",
    "# escape=`",
    "${A:-\"b\"}",
];

/// Lines that are nearly Dockerfiles.
fn nearly() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        6 => prop::sample::select(&PIECES[..]).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
        1 => any::<char>().prop_map(String::from),
    ];
    let separator = prop::sample::select(&[" ", "\n", "\n", "\r\n", "\t"][..]);
    prop::collection::vec((word, separator), 0..40)
        .prop_map(|parts| parts.into_iter().map(|(word, separator)| word + separator).collect())
}

/// Beginnings of lines, one in each line.
const KEYWORDS: &str = "FROM\nRUN\nCMD\nENTRYPOINT\nCOPY\nADD\nENV\nLABEL\nARG\nVOLUME\nEXPOSE\nUSER\nWORKDIR\nSHELL\n\
    HEALTHCHECK CMD\nONBUILD RUN\nONBUILD COPY\nSTOPSIGNAL\nMAINTAINER";

/// What stands behind them. `~` is a line end.
const ARGUMENTS: &str = "a\nb=c\nk='x y'\n\"q w\"\n[\"a\",\n\"b\"]\n[\"a\\tb\"]\n[\n$A\n--\n--link\n--chown='a b'\n\
    --mount=type=tmpfs,target=/a\n<<E\n<<-\"F\"\n\\\n`\n\t\n\u{b}\n\u{a0}\n#\n\\~\n`~\n~E~\n~F~\n~\tF~";

fn piece(pieces: &'static str) -> impl Strategy<Value = String> {
    let pieces: Vec<_> = pieces.split('\n').map(|piece| piece.replace('~', "\n")).collect();
    prop::sample::select(pieces)
}

/// Lines that mostly are Dockerfiles.
fn likely() -> impl Strategy<Value = String> {
    let line = (piece(KEYWORDS), prop::collection::vec(piece(ARGUMENTS), 1..5));
    let first = prop::sample::select(&["", "# escape=`\n"][..]);
    (first, prop::collection::vec(line, 1..4)).prop_map(|(first, lines)| {
        let lines =
            lines.into_iter().map(|(keyword, arguments)| format!("{keyword} {}\n", arguments.join(" ")));
        format!("{first}FROM a\n{}", lines.collect::<String>())
    })
}

fn check_spans(source: &Source, dockerfile: &Dockerfile) {
    let inside = |span: Span| {
        let text = source.text();
        assert!(span.start <= span.end && span.end <= text.len());
        assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
    };
    for (instruction, node) in dockerfile.instructions.iter().zip(dockerfile.tree(source)) {
        assert_eq!(
            (node.name.as_str(), node.flags.len()),
            (&*instruction.keyword.text.to_lowercase(), instruction.flags.len())
        );
        inside(instruction.full_span);
        let keyword = &instruction.keyword;
        assert!(source.slice(keyword.span).starts_with(keyword.text.chars().next().expect("not empty")));
        for flag in &instruction.flags {
            inside(flag.span);
            inside(flag.name.span);
        }
        if let Command::Copy(copy) = &instruction.command {
            inside(copy.destination.span);
        }
    }
    dockerfile.warnings.iter().for_each(|warning| inside(warning.span()));
}

/// What was read is printed, and reads the same.
fn check_print(source: &Source, dockerfile: &Dockerfile) {
    let tree = |source: &Source, dockerfile: &Dockerfile| -> Vec<Node> {
        dockerfile.tree(source).into_iter().map(Node::without_places).collect()
    };
    let first = tree(source, dockerfile);
    let printed = print(&first, dockerfile.escape);
    let again = Source::new("Dockerfile", printed.as_str()).expect("it was UTF-8");
    let parsed = parse(&again).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(tree(&again, &parsed), first, "\n{printed}");
    assert_eq!(print(&first, parsed.escape), printed);
}

fn last_shell(text: &str) -> Option<String> {
    let dockerfile = parse(&Source::new("Dockerfile", text).ok()?).ok()?;
    let Command::Run(run) = dockerfile.instructions.into_iter().next_back()?.command else { return None };
    match run.line {
        CommandLine::Shell(word) => Some(word.text),
        CommandLine::Exec(_) => None,
    }
}

#[test]
fn odd_blanks_are_printed_too() {
    let lines = [
        "LABEL name\\\u{c}\u{c}a=b c\n",
        "COPY a\\ <<E b\n",
        "COPY a\\  <<E b\nE\n",
        "VOLUME [\"a\",\u{b}\"b\"]\n",
    ];
    for line in lines {
        let source = Source::new("Dockerfile", format!("FROM a\n{line}")).expect("UTF-8");
        check_print(&source, &parse(&source).expect("parses"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        match Source::new("Dockerfile", bytes.clone()) {
            Ok(source) => {
                let _ = parse(&source);
            }
            Err(error) => prop_assert!(error.span().end <= bytes.len()),
        }
    }

    #[test]
    fn near_misses_are_read_or_refused(text in nearly()) {
        let source = Source::new("Dockerfile", text).expect("UTF-8");
        match parse(&source) {
            Ok(dockerfile) => {
                check_spans(&source, &dockerfile);
                check_print(&source, &dockerfile);
                let _ = dockerfile.into_stages();
            }
            Err(error) => {
                prop_assert!(error.span().end <= source.text().len());
                prop_assert!(!error.message().is_empty());
            }
        }
        let _ = parse_onbuild(&source);
    }

    #[test]
    fn what_is_printed_reads_the_same(text in likely()) {
        let source = Source::new("Dockerfile", text).expect("UTF-8");
        if let Ok(dockerfile) = parse(&source) {
            check_print(&source, &dockerfile);
        }
    }

    #[test]
    fn any_word_expands_or_is_refused(
        text in "[$ {}:?+#%/'\"\\\\*a-cA<\u{fc}`-]{0,30}",
        value in "[ab*?\\\\/ \n]{0,8}",
    ) {
        let word = Word::new(text.clone(), Span::new(0, text.len()));
        let environment = |name: &str| (name != "b").then(|| value.clone());
        for escape in ['\\', '`'] {
            let expander = Expander::new(escape, &environment);
            if let Err(error) = expander.word(&word) {
                prop_assert!(error.span().end <= text.len());
            }
            let _ = (expander.words(&word), expander.for_display(&text));
        }
    }

    #[test]
    fn any_mount_is_read_or_refused(
        text in "(type|target|id|size|ro|from|env|mode|=|,|\"|cache|secret|/a|1|[ -~]){0,12}",
    ) {
        let word = Word::new(text.clone(), Span::new(7, 7 + text.len()));
        if let Err(error) = mount::parse(&word, &Expander::new('\\', &|_| None)) {
            prop_assert!(error.span().start >= 7 && error.span().end <= 7 + text.len());
        }
    }

    /// Text without a special character is its own expansion.
    #[test]
    fn plain_text_stays(text in "[a-zA-Z0-9 ./:=_\u{e4}-]{0,40}") {
        let word = Word::new(text.clone(), Span::new(0, text.len()));
        let expanded = Expander::new('\\', &|_| None).word(&word).expect("plain");
        prop_assert_eq!(expanded.text, text);
    }

    /// A here-document's body comes through byte for byte, whatever it looks like.
    #[test]
    fn bodies_stay(
        lines in prop::collection::vec("[ -~\t]{0,20}", 0..8),
        ending in prop::sample::select(&["\n", "\r\n"][..]),
    ) {
        let body: String = lines.iter().filter(|line| *line != "END").map(|line| line.clone() + ending).collect();
        let text = format!("FROM a\nCOPY <<'END' /x\n{body}END\nRUN y\n");
        let source = Source::new("Dockerfile", text).expect("UTF-8");
        let dockerfile = parse(&source).expect("parses");
        prop_assert_eq!(dockerfile.instructions.len(), 3);
        let Some(Command::Copy(copy)) = dockerfile.instructions.get(1).map(|copy| &copy.command) else {
            panic!("not COPY")
        };
        let Some(CopySource::Heredoc(heredoc)) = copy.sources.first() else { panic!("no here-document") };
        prop_assert_eq!(&heredoc.body, &body);
        prop_assert_eq!(source.slice(heredoc.body_span), body);
    }

    /// Lines broken with the escape character, with comments in between, say what the joined line says.
    #[test]
    fn continuations_join(words in prop::collection::vec("[a-z&|$-]{1,6}", 1..8), comments in any::<bool>()) {
        let comment = if comments { "# note \\\n   # more\n" } else { "" };
        let broken = words.join(&format!(" \\\n{comment}"));
        prop_assert_eq!(last_shell(&format!("FROM a\nRUN -- {broken}\n")), Some(words.join(" ")));
    }
}
