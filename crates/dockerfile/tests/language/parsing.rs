//! What a golden file cannot show well.

use galley_dockerfile::directive::Check;
use galley_dockerfile::{Command, Dockerfile, ErrorKind, Source, Stage, WarningKind, parse, parse_onbuild};

fn source(text: &str) -> Source {
    Source::new("Dockerfile", text).expect("UTF-8")
}

#[test]
fn locations_count_characters() {
    let source = source("a\nüb\r\n\nc");
    let at = |offset| {
        let location = source.location(offset);
        (location.line, location.column)
    };
    assert_eq!([at(0), at(2), at(4), at(7), at(8), at(99)], [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (4, 2)]);
    assert_eq!([source.line(2), source.line(3), source.line(4), source.line(5)], ["üb", "", "c", ""]);
}

#[test]
fn a_source_has_a_limit() {
    let large = vec![b'#'; galley_dockerfile::source::MAX_BYTES + 1];
    let error = Source::new("Dockerfile", large).expect_err("too large");
    assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }));
}

#[test]
fn stages_are_found_by_name_and_number() {
    let text = "FROM a AS one\nFROM b AS Two\nFROM one AS ONE\nFROM ONE\n";
    let stages = parse(&source(text)).and_then(Dockerfile::into_stages).expect("stages");
    let index = |stage: Option<&Stage>| stage.map(|stage| stage.index);
    assert_eq!(index(stages.by_name("one")), Some(2));
    assert_eq!(index(stages.by_name("TWO")), Some(1));
    assert_eq!(index(stages.base_of("one", 2)), Some(0));
    assert_eq!(index(stages.base_of("ONE", 3)), Some(2));
    assert_eq!(index(stages.base_of("one", 0)), None);
    assert_eq!(index(stages.by_reference("3")), Some(3));
    assert_eq!(index(stages.by_reference("4")), None);
    assert_eq!(index(stages.by_reference("two")), Some(1));
    assert_eq!((stages.suggest("tow"), stages.suggest("other")), (Some("two"), None));
}

#[test]
fn stored_triggers_are_single_instructions() {
    let trigger = |text: &str| parse_onbuild(&source(text));
    let run = trigger("RUN <<EOF\nx\nEOF").expect("trigger");
    assert!(matches!(run.command, Command::Run(run) if run.heredocs.len() == 1));
    let kind = |text: &str| trigger(text).map(|_| ()).map_err(|error| error.kind().clone());
    assert_eq!(kind("RUN a\nRUN b"), Err(ErrorKind::TriggerCount { count: 2 }));
    assert_eq!(kind("FROM a"), Err(ErrorKind::BadTrigger { instruction: "FROM" }));
    assert_eq!(kind(""), Err(ErrorKind::Empty));
}

/// What the image stores can be read back.
#[test]
fn a_trigger_survives_the_image() {
    for text in ["RUN <<-EOF cat\n\ta\n\tEOF", "COPY --from=x a b", "RUN a \\\n  b", "ADD [\"a\", \"b\"]"] {
        let dockerfile = parse(&source(&format!("FROM a\nONBUILD {text}\n"))).expect(text);
        let Some(Command::Onbuild(onbuild)) = dockerfile.instructions.last().map(|last| &last.command) else {
            panic!("{text} is not ONBUILD");
        };
        let read = parse_onbuild(&source(&onbuild.expression)).expect(text);
        assert_eq!(without_spans(&read.command), without_spans(&onbuild.trigger.command));
    }
}

fn without_spans(command: &Command) -> String {
    let text = format!("{command:?}");
    let mut parts = text.split("Span {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or(part, |(_, rest)| rest))
}

#[test]
fn the_comment_behind_user_is_dropped_with_a_warning() {
    let dockerfile = parse(&source("FROM scratch\nUSER 65534:65534 # nobody:nobody\n")).expect("parses");
    let Some(Command::User(user)) = dockerfile.instructions.last().map(|last| &last.command) else {
        panic!("not USER");
    };
    assert_eq!(user.user.text, "65534:65534");
    let [warning] = dockerfile.warnings.as_slice() else { panic!("{:?}", dockerfile.warnings) };
    assert_eq!(warning.kind(), &WarningKind::CommentBehindUser { comment: "# nobody:nobody".to_owned() });
}

#[test]
fn check_options() {
    let check = Check::parse("skip=A, B ; experimental=all;error=1").expect("options");
    assert_eq!(check.skip, ["A", "B"]);
    assert!(check.experimental_all && check.error && !check.skip_all);
    assert_eq!(Check::parse(""), Ok(Check::default()));
    assert_eq!(Check::parse("error=maybe"), Err("error=maybe".to_owned()));
    assert_eq!(Check::parse("skip"), Err("skip".to_owned()));
}

#[test]
fn deep_json_is_no_exec_form() {
    let nested = |depth: usize| format!("FROM a\nCMD {}{}\n", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&source(&nested(100_000))).is_ok());
    let kind = parse(&source(&nested(2))).map(|_| ()).map_err(|error| error.kind().clone());
    assert_eq!(kind, Err(ErrorKind::JsonNotStrings { instruction: "CMD" }));
}

#[test]
fn an_escape_character_alone_is_no_word() {
    for keyword in ["ARG", "ENV", "LABEL"] {
        let source = Source::new("Dockerfile", format!("FROM a\n{keyword} \\ \\\n")).expect("UTF-8");
        let error = parse(&source).expect_err("nothing is named");
        assert!(matches!(error.kind(), ErrorKind::MissingArgument { .. }), "{error}");
    }
}
