//! A large Dockerfile is read in no time.

use galley_dockerfile::lint::{Facts, Input, own};
use galley_dockerfile::{Source, parse};
use std::time::{Duration, Instant};

/// For a thousand lines, in a release build. A debug build only has to be far from quadratic.
const BUDGET: Duration =
    if cfg!(debug_assertions) { Duration::from_millis(500) } else { Duration::from_millis(5) };

const BLOCK: &str = r#"RUN --mount=type=cache,target=/c apt-get update \
    && apt-get install -y $PKG \
# why
    && true
COPY --from=base --chown=1:1 ["a b", "c"]
ENV A=1 B="x y" C=$A
LABEL a.b.c="value of $A"
RUN <<EOF
echo "hi"
EOF
EXPOSE 80 443/tcp
"#;

#[test]
fn a_thousand_lines() {
    let text = "FROM scratch AS base\n".to_owned() + &BLOCK.repeat(1000 / BLOCK.lines().count());
    let source = Source::new("Dockerfile", text).expect("UTF-8");
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            assert!(parse(&source).is_ok());
            start.elapsed()
        })
        .min();
    println!("1,000 lines: {best:?}");
    assert!(best.is_some_and(|best| best <= BUDGET), "{best:?}");
}

/// Half of what a check may take; the planner has the other half.
#[test]
fn own_rules_over_a_thousand_lines() {
    let text = "FROM golang:1.22 AS base\n".to_owned() + &BLOCK.repeat(1000 / BLOCK.lines().count());
    let source = Source::new("Dockerfile", text).expect("UTF-8");
    let stages = parse(&source).expect("parses").into_stages().expect("stages");
    let facts = Facts::default();
    let input = Input { source: &source, escape: '\\', stages: &stages, facts: &facts };
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            assert!(!own(&input).is_empty());
            start.elapsed()
        })
        .min();
    println!("1,000 lines: {best:?}");
    assert!(best.is_some_and(|best| best <= BUDGET), "{best:?}");
}
