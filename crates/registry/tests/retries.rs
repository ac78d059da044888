use std::time::Duration;

use galley_registry::Kind;
use galley_testkit::registry::{Fault, Registry, Rule, closed_port, silent_listener};

use crate::support::{Machine, client, failure, hurry, limits, reference, timed};

const MANIFESTS: &str = "/v2/library/app/manifests/*";

fn with_image() -> Registry {
    let registry = Registry::start();
    registry.put_image("library/app", "1", &[]);
    registry
}

#[test]
fn failures_that_pass_are_tried_again() {
    for fault in [
        Fault::status(500),
        Fault::status(502),
        Fault::status(503),
        Fault::status(504),
        Fault::status(408),
        Fault::too_many("0"),
        Fault::Reset,
        Fault::NoAnswer,
        Fault::Hang,
        Fault::Cut { after: 10, reset: true },
        Fault::Cut { after: 10, reset: false },
        Fault::Stall { after: 10 },
    ] {
        let registry = with_image();
        registry.script("GET", MANIFESTS, [fault.clone(), fault.clone()]);
        let document =
            Machine::new().against(&fault).client().manifest(&reference(&registry, "library/app:1"));
        assert!(document.is_ok(), "{fault:?}: {document:?}");
        let count = registry.count("GET", MANIFESTS);
        // Who is in a hurry may find an answer late that was to come.
        let late = usize::from(matches!(fault, Fault::Hang | Fault::Stall { .. }));
        assert!((3..=3 + late).contains(&count), "{fault:?}: {count}");
    }
}

#[test]
fn patience_has_an_end() {
    for (fault, kind) in [
        (Fault::status(500), Kind::Unreachable),
        (Fault::status(503), Kind::Unreachable),
        (Fault::too_many("0"), Kind::Unreachable),
        (Fault::Reset, Kind::Unreachable),
        (Fault::NoAnswer, Kind::Unreachable),
        (Fault::Hang, Kind::Unreachable),
    ] {
        let registry = with_image();
        registry.inject(Rule::on("GET", MANIFESTS, fault.clone()).always());
        let client = Machine::new().against(&fault).client();
        failure(client.manifest(&reference(&registry, "library/app:1")), kind);
        assert_eq!(registry.count("GET", MANIFESTS), limits().attempts as usize, "{fault:?}");
    }
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    for (status, kind) in
        [(400, Kind::Unreachable), (403, Kind::Denied), (404, Kind::NotFound), (501, Kind::Unreachable)]
    {
        let registry = with_image();
        registry.inject(Rule::on("GET", MANIFESTS, Fault::status(status)).always());
        failure(client().manifest(&reference(&registry, "library/app:1")), kind);
        assert_eq!(registry.count("GET", MANIFESTS), 1, "{status}");
    }
}

#[test]
fn retry_after_is_obeyed_within_reason() {
    let registry = with_image();
    registry.inject(Rule::on("GET", MANIFESTS, Fault::too_many("1")));
    let (result, time) = timed(|| client().manifest(&reference(&registry, "library/app:1")));
    assert!(result.is_ok() && time >= Duration::from_secs(1), "{result:?} after {time:?}");
    // An hour is no pause but a refusal.
    registry.inject(Rule::on("GET", MANIFESTS, Fault::too_many("3600")));
    registry.forget_requests();
    let error = failure(client().manifest(&reference(&registry, "library/app:1")), Kind::Unreachable);
    assert_eq!(registry.count("GET", MANIFESTS), 1);
    assert!(error.to_string().contains("limits how often"), "{error}");
    // What is no number of seconds counts for nothing.
    registry.inject(Rule::on("GET", MANIFESTS, Fault::too_many("-1 soon")));
    client().manifest(&reference(&registry, "library/app:1")).unwrap();
}

/// Whatever a registry answers in whatever order: the first answer that does not pass is the result.
#[test]
fn statuses_in_every_order() {
    let kinds = |status| match status {
        401 | 403 => Some(Kind::Denied),
        404 => Some(Kind::NotFound),
        _ => None,
    };
    for order in permutations(&[401, 403, 404, 429, 500]) {
        let registry = with_image();
        registry.script("GET", MANIFESTS, order.iter().map(|status| Fault::status(*status)));
        let decides = order.iter().position(|status| kinds(*status).is_some()).unwrap();
        let result = client().manifest(&reference(&registry, "library/app:1"));
        failure(result, kinds(order[decides]).unwrap());
        assert_eq!(registry.count("GET", MANIFESTS), decides + 1, "{order:?}");
    }
}

fn permutations(of: &[u16]) -> Vec<Vec<u16>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let each = of.iter().enumerate().flat_map(|(at, first)| {
        let rest: Vec<u16> =
            of.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, s)| *s).collect();
        permutations(&rest).into_iter().map(move |rest| [vec![*first], rest].concat())
    });
    each.collect()
}

#[test]
fn nobody_listens() {
    let reference = format!("{}/library/app:1", closed_port()).parse().unwrap();
    let (result, time) = timed(|| client().manifest(&reference));
    failure(result, Kind::Unreachable);
    assert!(time < limits().connect / 2, "{time:?}");
}

#[test]
fn nobody_speaks() {
    let (_listener, address) = silent_listener();
    let reference = format!("{address}/library/app:1").parse().unwrap();
    let machine = Machine::new().limits(|limits| limits.connect = Duration::from_millis(500));
    let machine = machine.limits(hurry);
    let (result, time) = timed(|| machine.client().manifest(&reference));
    failure(result, Kind::Unreachable);
    // The patience that it would have otherwise.
    assert!(time < limits().connect.min(limits().response), "{time:?}");
}

#[test]
fn no_such_host() {
    let reference = "registry.invalid/library/app:1".parse().unwrap();
    let error = failure(client().manifest(&reference), Kind::Unreachable);
    assert!(error.to_string().contains("registry.invalid"), "{error}");
}

/// The words of a registry are quoted, as far as they are words.
#[test]
fn the_registry_is_quoted() {
    let registry = with_image();
    let body = br#"{"errors":[{"code":"DENIED","message":"your plan has ended\u001b[31m"}]}"#;
    let answer = Fault::Answer { status: 403, headers: Vec::new(), body: body.to_vec() };
    registry.inject(Rule::on("GET", MANIFESTS, answer));
    let error = failure(client().manifest(&reference(&registry, "library/app:1")), Kind::Denied).to_string();
    assert!(error.contains("DENIED: your plan has ended") && !error.contains('\u{1b}'), "{error}");
}
