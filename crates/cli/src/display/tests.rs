use galley_engine::{
    events::{Direction, StepInfo, Stream, TransferState},
    plan::StepId,
};

use super::{tty::Size, *};

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn planned() -> Event {
    let names = [
        "[builder 1/3] FROM golang:1.22",
        "[builder 2/3] RUN go build",
        "[stage-1 1/1] COPY --from=builder /app /app",
    ];
    let steps = names.iter().enumerate();
    let steps = steps
        .map(|(id, name)| StepInfo { id: StepId(id), name: (*name).to_owned(), ..StepInfo::default() })
        .collect();
    Event::Planned { steps }
}

fn log(text: &[u8]) -> Event {
    Event::Log { step: StepId(1), stream: Stream::Stdout, bytes: text.to_vec(), skipped: None }
}

fn started(step: StepId) -> Event {
    Event::Started { step, key: None, why: None, looked: Duration::ZERO }
}

fn cached(step: StepId, from: Option<String>) -> Event {
    Event::Cached { step, from, key: None, layer: None, looked: Duration::ZERO }
}

fn finished(step: StepId, took: Duration) -> Event {
    Event::Finished { step, took, layer: None, files: 0, bytes: 0 }
}

fn build() -> Vec<(f64, Event)> {
    let step = StepId;
    vec![
        (0.0, planned()),
        (0.0, Event::Context { name: ".".to_owned(), files: 12, bytes: 34_000, took: at(0.0) }),
        (0.1, cached(step(0), None)),
        (0.1, started(step(1))),
        (0.3, log(b"go: \x1b[1mdownloading\x1b[0m gin\n10%\r50%\r100%\npart")),
        (0.4, log(b" two\nno end")),
        (1.3, finished(step(1), at(1.2))),
        (
            1.3,
            Event::Warning {
                rule: None,
                message: "the comment is dropped".to_owned(),
                place: Some("Dockerfile:9:1".to_owned()),
                help: None,
            },
        ),
        (1.4, started(step(2))),
        (1.4, finished(step(2), at(0.0))),
        (1.5, Event::Exporting { what: "exporting to oci archive out.tar".to_owned() }),
        (1.6, Event::Exported { what: "exporting to oci archive out.tar".to_owned(), took: at(0.1) }),
    ]
}

fn failing() -> Vec<(f64, Event)> {
    let mut events = build();
    events.truncate(6);
    events.push((1.3, Event::Failed { step: StepId(1), message: "exit code 2".to_owned() }));
    events
}

fn show<D: Display>(mut display: D, events: &[(f64, Event)], end: f64) -> State {
    let mut state = State::default();
    for (seconds, event) in events {
        state.apply(event, at(*seconds));
        display.event(event, &state, at(*seconds)).unwrap();
    }
    display.finish(&state, at(end)).unwrap();
    state
}

fn plain(events: &[(f64, Event)]) -> String {
    let mut out = Vec::new();
    show(plain::Plain::new(&mut out), events, 2.0);
    String::from_utf8(out).unwrap()
}

/// Everything a terminal was sent.
fn tty(events: &[(f64, Event)], size: fn() -> Size) -> String {
    let mut out = Vec::new();
    show(tty::Tty::on(&mut out, size), events, 2.0);
    String::from_utf8(out).unwrap()
}

/// The last frame alone.
fn last_frame(sent: &str) -> &str {
    sent.rsplit("\x1b[J").next().unwrap()
}

#[test]
fn plain_numbers_each_line() {
    let expected = "\
#1 [context] read build context: 12 files, 34kB
#1 DONE 0.0s

#2 [builder 1/3] FROM golang:1.22
#2 CACHED

#3 [builder 2/3] RUN go build
#3 0.200 go: downloading gin
#3 0.200 100%
#3 0.300 part two
#3 0.300 no end
#3 DONE 1.2s
WARN: the comment is dropped (Dockerfile:9:1)

#4 [stage-1 1/1] COPY --from=builder /app /app
#4 DONE 0.0s

#5 exporting to oci archive out.tar
#5 DONE 0.1s
";
    assert_eq!(plain(&build()), expected);
}

#[test]
fn plain_names_what_failed() {
    assert!(plain(&failing()).ends_with("#3 0.300 no end\n#3 ERROR: exit code 2\n"), "{}", plain(&failing()));
}

#[test]
fn what_rules_found_is_counted_at_the_end() {
    let found = |rule| {
        let (message, place) = ("it is old".to_owned(), Some("Dockerfile:2:5".to_owned()));
        (1.3, Event::Warning { rule: Some(rule), message, place, help: None })
    };
    let mut events = build();
    events.extend([found("One".into()), found("Two".into())]);
    let list = " - One: it is old (Dockerfile:2:5)\n - Two: it is old (Dockerfile:2:5)\n";
    let end = format!("\n 2 warnings found (galley build --check tells more):\n{list}");
    let shown = plain(&events);
    assert!(shown.contains("WARN: One: it is old (Dockerfile:2:5)\n") && shown.ends_with(&end), "{shown}");
    let sent = tty(&events, || Size { rows: 24, columns: 56 });
    let shown = last_frame(&sent);
    assert!(shown.ends_with(&format!(" --> Dockerfile:9:1\n{end}")), "{shown}");
}

#[test]
fn a_terminal_ends_with_the_whole_build() {
    let expected = "\
[+] Building 2.0s (5/5) FINISHED
 => [context] read build context: 12 files, 34kB    0.0s
 => CACHED [builder 1/3] FROM golang:1.22           0.0s
 => [builder 2/3] RUN go build                      1.2s
 => [stage-1 1/1] COPY --from=builder /app /app     0.0s
 => exporting to oci archive out.tar                0.1s
warning: the comment is dropped
 --> Dockerfile:9:1
";
    let sent = tty(&build(), || Size { rows: 24, columns: 56 });
    assert_eq!(last_frame(&sent), expected);
}

#[test]
fn a_terminal_shows_the_output_of_running_steps() {
    let running: Vec<_> = build().into_iter().take(6).collect();
    let sent = tty(&running, || Size { rows: 24, columns: 40 });
    let expected = "\
[+] Building 0.4s (2/4)
 => [context] read build context: … 0.0s
 => CACHED [builder 1/3] FROM gola… 0.0s
 => [builder 2/3] RUN go build      0.3s
 => => # go: downloading gin
 => => # 100%
 => => # part two
";
    let frames: Vec<&str> = sent.split("\x1b[J").collect();
    let frame = frames.get(frames.len() - 2).unwrap();
    assert_eq!(frame.rsplit_once("\x1b[").unwrap().0, expected);
}

#[test]
fn frames_fit_small_terminals_and_keep_what_runs() {
    let running: Vec<_> = build().into_iter().take(6).collect();
    let sent = tty(&running, || Size { rows: 4, columns: 30 });
    for frame in sent.split("\x1b[J").take_while(|frame| !frame.contains("FINIS")) {
        assert!(frame.matches('\n').count() <= 3, "{frame}");
        assert!(
            frame.lines().filter(|line| !line.contains('\x1b')).all(|line| line.chars().count() <= 30),
            "{frame}"
        );
    }
    assert!(sent.contains(" => [builder 2/3] RUN"), "{sent}");
}

#[test]
fn rawjson_is_one_object_a_line() {
    let mut out = Vec::new();
    show(rawjson::RawJson::new(&mut out, "galley 0.1.0"), &build(), 2.0);
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), build().len() + 2);
    assert_eq!(
        text.lines().next().unwrap(),
        r#"{"event":"log-start","version":1,"program":"galley 0.1.0","at":0.0}"#
    );
    assert_eq!(text.lines().nth(3).unwrap(), r#"{"event":"cached","step":0,"looked":0.0,"at":0.1}"#);
    assert_eq!(text.lines().last().unwrap(), r#"{"event":"log-end","at":2.0}"#);
}

#[test]
fn the_last_output_of_a_failed_step_is_kept() {
    let tail = show(plain::Plain::new(io::sink()), &failing(), 2.0).into_failed().unwrap();
    let mut out = Vec::new();
    print_failed(&tail, &mut out).unwrap();
    let expected = "\
------
 > [builder 2/3] RUN go build:
0.200 go: downloading gin
0.200 100%
0.300 part two
0.300 no end
------
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_long_output_keeps_its_end() {
    let lines: String = (0..100).map(|line| format!("line {line}\n")).collect();
    let events = [
        (0.0, planned()),
        (0.1, started(StepId(1))),
        (0.2, log(lines.as_bytes())),
        (0.3, Event::Failed { step: StepId(1), message: "exit code 1".to_owned() }),
    ];
    let tail = show(plain::Plain::new(io::sink()), &events, 1.0).into_failed().unwrap();
    assert_eq!((tail.lines.len(), tail.skipped), (32, 68));
    assert_eq!(tail.lines.last().unwrap().1, "line 99");
}

fn moved(digit: &str, done: u64, state: TransferState) -> Event {
    let name = "docker.io/library/golang".to_owned();
    let (blob, direction) = (format!("sha256:{}", digit.repeat(64)), Direction::Pull);
    Event::Transfer { name, blob, direction, done, total: 45_600_000, state }
}

fn fetching() -> Vec<(f64, Event)> {
    use TransferState::{Done, Present, Running};
    vec![
        (0.0, planned()),
        (0.1, started(StepId(1))),
        (1.0, moved("a", 0, Running)),
        (1.0, moved("b", 0, Present)),
        (2.0, moved("a", 12_300_000, Running)),
        (3.0, moved("a", 20_000_000, Running)),
        (6.5, moved("a", 30_000_000, Running)),
        (7.0, moved("a", 45_600_000, Done)),
        (7.0, cached(StepId(2), Some("type=registry,ref=example.com/a".to_owned()))),
    ]
}

#[test]
fn plain_says_now_and_then_how_far_transfers_are() {
    let expected = "\
#1 [builder 2/3] RUN go build

#2 fetching from docker.io/library/golang
#2 sha256:aaaaaaaaaaaa 0B / 45.6MB 0.0s
#2 sha256:bbbbbbbbbbbb 45.6MB already there 0.0s done
#2 sha256:aaaaaaaaaaaa 30MB / 45.6MB 5.45MB/s 5.5s
#2 sha256:aaaaaaaaaaaa 45.6MB / 45.6MB 6.0s done

#3 [stage-1 1/1] COPY --from=builder /app /app
#3 CACHED from type=registry,ref=example.com/a
";
    assert_eq!(plain(&fetching()), expected);
}

#[test]
fn a_terminal_shows_transfers_with_their_rate() {
    let running: Vec<_> = fetching().into_iter().take(5).collect();
    let sent = tty(&running, || Size { rows: 24, columns: 64 });
    let expected = "\
[+] Building 2.0s (0/4)
 => [builder 2/3] RUN go build                              1.9s
 => fetching from docker.io/library/golang                  1.0s
 => => sha256:aaaaaaaaaaaa 12.3MB / 45.6MB 12.3MB/s         1.0s
 => => sha256:bbbbbbbbbbbb 45.6MB already there             0.0s
";
    let frames: Vec<&str> = sent.split("\x1b[J").collect();
    let frame = frames.get(frames.len() - 2).unwrap();
    assert_eq!(frame.rsplit_once("\x1b[").unwrap().0, expected);
    let sent = tty(&fetching(), || Size { rows: 24, columns: 96 });
    let cached =
        " => CACHED [stage-1 1/1] COPY --from=builder /app /app from type=registry,ref=example.com/a";
    assert!(last_frame(&sent).contains(cached), "{sent}");
    assert!(last_frame(&sent).contains(" => fetching from docker.io/library/golang "), "{sent}");
}

#[test]
fn a_build_that_starts_over_is_told_once() {
    let mut events = build();
    events.truncate(3);
    events.push((0.1, cached(StepId(1), Some("type=local,src=c".to_owned()))));
    let (told, warned) = (events.clone(), "a cache lost files".to_owned());
    events.push((0.2, Event::Warning { rule: None, message: warned, place: None, help: None }));
    events.extend(told.into_iter().take(3));
    events.extend(build().split_off(3));
    let mut out = Vec::new();
    let state = show(plain::Plain::new(&mut out), &events, 2.0);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches("read build context").count(), 1, "{text}");
    assert_eq!(text.matches("FROM golang").count(), 1, "{text}");
    assert!(text.contains("#3 CACHED from type=local,src=c\n"), "{text}");
    assert!(text.contains("#3 [builder 2/3] RUN go build\n#3 0.200 go: downloading gin"), "{text}");
    assert!(text.contains("#3 DONE 1.2s"), "{text}");
    assert_eq!(state.done(), 5);
}

#[test]
fn transfers_of_an_output_are_shown_with_it() {
    let pushing = "pushing example.com/app:1".to_owned();
    let blob = |done, state| Event::Transfer {
        name: "example.com/app:1".to_owned(),
        blob: format!("sha256:{}", "c".repeat(64)),
        direction: Direction::Push,
        done,
        total: 10,
        state,
    };
    let events = [
        (0.0, Event::Exporting { what: pushing.clone() }),
        (0.1, blob(3, TransferState::Running)),
        (0.2, blob(10, TransferState::Done)),
        (0.3, Event::Exported { what: pushing, took: at(0.3) }),
    ];
    let expected = "\
#1 pushing example.com/app:1
#1 sha256:cccccccccccc 3B / 10B 0.0s
#1 sha256:cccccccccccc 10B / 10B 0.1s done
#1 DONE 0.3s
";
    assert_eq!(plain(&events), expected);
}
