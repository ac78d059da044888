use std::time::Duration;

use galley_engine::{
    Event, Stamped,
    events::{Direction, LayerInfo, Phase, StepInfo, StepKind, Stream, TransferState},
    plan::StepId,
    why::Why,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn step(id: usize, name: &str, stage: &str, kind: StepKind, needs: &[usize]) -> StepInfo {
    let (id, name, stage) = (StepId(id), name.to_owned(), stage.to_owned());
    let (place, needs) =
        (Some(format!("Dockerfile:{}:1", id.0 + 1)), needs.iter().map(|id| StepId(*id)).collect());
    StepInfo { id, name, place, kind, stage, needs }
}

fn started(id: usize, why: Option<Why>) -> Event {
    Event::Started { step: StepId(id), key: Some(format!("blake3:{id}")), why, looked: at(0.1) }
}

fn finished(id: usize, bytes: u64) -> Event {
    let layer = Some("blake3:ff".to_owned());
    Event::Finished { step: StepId(id), took: at(1.0), layer, files: 1, bytes }
}

fn log(id: usize, bytes: &[u8]) -> Event {
    Event::Log { step: StepId(id), stream: Stream::Stdout, bytes: bytes.to_vec(), skipped: None }
}

fn transfer(done: u64, state: TransferState) -> Event {
    let (name, blob) = ("example.com/base".to_owned(), "sha256:ab".to_owned());
    Event::Transfer { name, blob, direction: Direction::Pull, done, total: 100, state }
}

/// Two stages side by side, the second one longer, and a last one that needs both. `name` is of the RUN step of the first.
pub(crate) fn events(name: &str, output: &[u8]) -> Vec<(f64, Event)> {
    let steps = vec![
        step(0, "[a 1/2] FROM busybox", "a", StepKind::Base, &[]),
        step(1, &format!("[a 2/2] {name}"), "a", StepKind::Run, &[0]),
        step(2, "[b 1/1] RUN long", "b", StepKind::Run, &[0]),
        step(3, "[stage-2 1/2] COPY --from=a /x /", "2", StepKind::Copy, &[1]),
        step(4, "[stage-2 2/2] COPY --from=b /y /", "2", StepKind::Copy, &[2, 3]),
    ];
    let found = Event::Cached { step: StepId(0), from: None, key: None, layer: None, looked: at(0.0) };
    let parts = vec!["variable VERSION".to_owned(), "the instruction".to_owned()];
    let why = Why::Changed { parts, before: Some("RUN <old> & \"it\"".to_owned()), layer: None };
    let layers = vec![
        LayerInfo { diff_id: "sha256:00".to_owned(), layer: None, step: None },
        LayerInfo {
            diff_id: "sha256:01".to_owned(),
            layer: Some("blake3:ff".to_owned()),
            step: Some(StepId(3)),
        },
    ];
    let (id, platform, names) =
        ("sha256:0123456789abcdef".to_owned(), "linux/amd64".to_owned(), vec!["app:latest".to_owned()]);
    vec![
        (0.2, Event::Phase { phase: Phase::Plan, took: at(0.2) }),
        (0.2, Event::Planned { steps }),
        (0.2, found),
        (0.3, Event::Context { name: ".".to_owned(), files: 3, bytes: 99, took: at(0.1) }),
        (0.3, transfer(0, TransferState::Running)),
        (0.35, transfer(50, TransferState::Running)),
        (0.4, transfer(100, TransferState::Done)),
        (0.5, started(1, Some(why))),
        (0.5, started(2, Some(Why::First))),
        (0.6, log(1, output)),
        (1.0, finished(1, 10)),
        (1.1, started(3, Some(Why::New))),
        (1.2, finished(3, 20)),
        (3.0, finished(2, 5)),
        (3.1, started(4, None)),
        (3.2, finished(4, 1)),
        (3.2, Event::Image { id, platform, names, layers }),
        (3.3, Event::Exporting { what: "exporting".to_owned() }),
        (3.5, Event::Exported { what: "exporting".to_owned(), took: at(0.2) }),
        (
            3.5,
            Event::Warning {
                rule: Some("FromAsCasing".into()),
                message: "m".to_owned(),
                place: Some("Dockerfile:1:1".to_owned()),
                help: None,
            },
        ),
    ]
}

pub(crate) fn story(events: Vec<(f64, Event)>) -> Story {
    let mut story = Story::default();
    events.into_iter().for_each(|(seconds, event)| story.add(Stamped { at: at(seconds), event }));
    story.end(at(3.6));
    story
}

pub(crate) fn head() -> Head {
    let (program, dockerfile, context) = ("galley 1".to_owned(), "Dockerfile".to_owned(), ".".to_owned());
    Head {
        program,
        dockerfile,
        context,
        began: (1_700_000_000, 5),
        names: vec!["app".to_owned()],
        ..Head::default()
    }
}

#[test]
fn the_critical_path_goes_to_what_was_waited_for() {
    let model = Model::new(&story(events("RUN short", b"")));
    let path = CriticalPath::new(&model);
    assert_eq!(path.steps, [0, 2, 4]);
    assert_eq!(path.took, at(2.5) + at(0.1));
    assert_eq!(model.steps.iter().map(|step| step.row).collect::<Vec<_>>(), [0, 0, 1, 0, 0]);
}

#[test]
fn a_build_comes_back_from_its_text() {
    let story = story(events("RUN short", b"caf\xc3\xa9 \xff\n"));
    let model = Model::new(&story);
    let head = head().completed(&model);
    assert_eq!((head.executed, head.cached, head.steps.len()), (4, 0, 5));
    let text = write(&head, &story);
    let (head_again, story_again) = read(&text).unwrap();
    assert_eq!(head_again, head);
    assert_eq!(read_head(text.split(|byte| *byte == b'\n').next().unwrap()), Some(head));
    let again = Model::new(&story_again);
    assert_eq!(format!("{:?}", again.steps[2]), format!("{:?}", model.steps[2]));
    assert_eq!(again.steps[1].log.pieces, [(None, "caf\u{e9} \u{fffd}\n".as_bytes().to_vec())]);
    assert_eq!(again.transfers.len(), 1);
    assert_eq!((again.transfers[0].bytes, again.transfers[0].state), (100, TransferState::Done));
}

#[test]
fn every_event_comes_back_from_its_json() {
    let event = |step| Event::Failed { step, message: "m".to_owned() };
    let more = [Why::NoCache, Why::Gone, Why::Unknown].map(|why| (0.0, started(1, Some(why))));
    let all = events("RUN x", b"y\n").into_iter().chain(more).chain([(0.0, event(StepId(3)))]);
    for (_, event) in all {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(Event::from_json(&json), Some(event), "{json}");
    }
}

#[test]
fn logs_of_other_programs_and_damaged_ones_are_read_as_far_as_they_go() {
    let log = "{\"event\":\"log-start\",\"version\":1,\"program\":\"galley 9\",\"at\":0.0}\nwarning: x\n\
        {\"event\":\"planned\",\"steps\":[{\"id\":7,\"name\":\"RUN a\",\"needs\":[9,7]}],\"at\":0.1}\n\
        {\"event\":\"started\",\"step\":7,\"at\":0.2}\n{\"event\":\"started\",\"step\":70,\"at\":0.2}\n\
        {\"event\":\"future\",\"x\":1,\"at\":0.2}\n{\"event\":\"finished\",\"step\":7,\"took\":-1,\"at\":1e300}\n{\"event\":\"fini";
    let (head, story) = read(log.as_bytes()).unwrap();
    assert_eq!(head.program, "galley 9");
    let model = Model::new(&story);
    assert_eq!((model.steps.len(), &model.steps[0].way), (1, &Way::Executed));
    assert!(model.steps[0].needs.is_empty());
    assert!(read(b"no build\n{}\n").is_none());
}

/// Every number of `value` becomes the next of these.
fn replace_numbers(value: &mut Value, with: &mut impl Iterator<Item = Value>) {
    match value {
        Value::Number(_) => *value = with.next().unwrap_or_default(),
        Value::Array(values) => values.iter_mut().for_each(|value| replace_numbers(value, with)),
        Value::Object(fields) => fields.values_mut().for_each(|value| replace_numbers(value, with)),
        _ => {}
    }
}

proptest! {
    /// Whatever numbers a log has, there is a page and a trace of it.
    #[test]
    fn no_number_of_a_log_makes_a_panic(
        picks in prop::collection::vec(
            prop::sample::select(vec![
                json!(0), json!(1), json!(2), json!(3), json!(-1), json!(0.5), json!(u64::MAX), json!(1.8e19), json!(1e300),
                json!(null), json!("x"), json!([]),
            ]),
            1..60,
        ),
        order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut lines: Vec<Value> = events("RUN x", b"y\n").iter().map(|(at, event)| {
            let mut value = serde_json::to_value(event).unwrap();
            value["at"] = json!(at);
            value
        }).collect();
        let mut picks = picks.into_iter().cycle();
        lines.iter_mut().for_each(|line| replace_numbers(line, &mut picks));
        let count = lines.len();
        order.windows(2).for_each(|pair| lines.swap(pair[0] % count, pair[1] % count));
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if let Some((head, story)) = read(text.as_bytes()) {
            let model = Model::new(&story);
            let _ = (CriticalPath::new(&model), trace(&head, &model), crate::page::page(&head, &model, None));
        }
    }
}

#[test]
fn what_a_step_writes_without_end_is_cut_in_its_middle() {
    let mut events = events("RUN short", b"first\n");
    for number in 0..4000 {
        events.insert(10, (0.6, log(1, format!("line {number} {}\n", "x".repeat(90)).as_bytes())));
    }
    let story = story(events);
    let model = Model::new(&story);
    let pieces = &model.steps[1].log.pieces;
    let kept: usize = pieces.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!((60_000..110_000).contains(&kept), "{kept}");
    let skipped: u64 = pieces.iter().filter_map(|(skipped, _)| *skipped).sum();
    assert!(skipped > 250_000, "{skipped}");
    assert_eq!(pieces.iter().filter(|(skipped, _)| skipped.is_some()).count(), 1);
    assert!(pieces.first().unwrap().1.starts_with(b"first"));
}

#[test]
fn what_comes_in_large_pieces_keeps_its_beginning() {
    let mut events = events("RUN short", b"");
    for letter in ["c", "b", "a"] {
        events.insert(10, (0.6, log(1, format!("{letter}\n").repeat(30_000).as_bytes())));
    }
    let story = story(events);
    let model = Model::new(&story);
    let pieces = &model.steps[1].log.pieces;
    let kept: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let skipped: u64 = pieces.iter().filter_map(|(skipped, _)| *skipped).sum();
    assert!(kept.starts_with(&b"a\n".repeat(16_000)), "the beginning is lost");
    assert!(kept.ends_with(&b"c\n".repeat(16_000)), "the end is lost");
    assert_eq!(kept.len() as u64 + skipped, 180_000);
}

#[test]
fn a_step_that_never_ended_was_cut_off() {
    let mut events = events("RUN short", b"");
    events.truncate(10);
    let model = Model::new(&story(events));
    assert_eq!((&model.steps[1].way, model.steps[1].ran.unwrap().end), (&Way::Cut, at(3.6)));
    assert_eq!(model.steps[4].way, Way::Waiting);
}

#[test]
fn a_trace_is_what_chromium_reads() {
    let model = Model::new(&story(events("RUN \"</script>\" \u{1}", b"")));
    let text = trace(&head().completed(&model), &model);
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let (mut rows, mut flows) = (std::collections::BTreeMap::<u64, Vec<(u64, u64)>>::new(), Vec::new());
    for event in events {
        let number = |field: &str| event[field].as_u64().unwrap_or_else(|| panic!("no {field}: {event}"));
        assert_eq!(number("pid"), 1);
        match event["ph"].as_str().unwrap() {
            "X" => {
                let (begin, took) = (number("ts"), number("dur"));
                assert!(event["name"].is_string() && event["args"].is_object(), "{event}");
                rows.entry(number("tid")).or_default().push((begin, begin + took));
            }
            "M" => assert!(event["args"].is_object()),
            "s" | "f" => flows.push((number("id"), event["ph"].clone(), number("ts"))),
            "C" => assert!(event["args"].as_object().unwrap().values().all(Value::is_u64), "{event}"),
            other => panic!("{other}"),
        }
    }
    // Slices of one row never overlap: one ends before the next begins.
    for (row, slices) in &mut rows {
        slices.sort_unstable();
        assert!(slices.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{row}: {slices:?}");
    }
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [1, 2, 100, 101, 10_000]);
    let run: u64 = rows[&101].iter().map(|(begin, end)| end - begin).sum();
    assert_eq!(run, 2_600_000, "the long step with its look-up");
    // Each arrow has two ends, the first one first.
    assert_eq!(flows.len(), 10);
    for pair in flows.chunks(2) {
        assert_eq!((&pair[0].1, &pair[1].1, pair[0].0), (&"s".into(), &"f".into(), pair[1].0));
        assert!(pair[0].2 <= pair[1].2);
    }
    let named = |event: &&Value| event["name"] == "[a 2/2] RUN \"</script>\" \u{1}" && event["cat"] == "run";
    let step = events.iter().find(named).unwrap();
    assert_eq!(step["args"]["changed"], "variable VERSION, the instruction");
    assert_eq!(step["args"]["bytes"], 10);
}
