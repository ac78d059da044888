//! A large Dockerfile is planned in no time.

use std::{fmt::Write as _, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::{FakeSource, options};
use crate::plan::{check, plan};

/// For a thousand lines, in a release build: an idle machine takes a third of it, and one whose other processors work on the same
/// caches twice as long. A debug build only has to be far from quadratic.
const BUDGET: Duration =
    if cfg!(debug_assertions) { Duration::from_millis(500) } else { Duration::from_millis(25) };

/// The time that this thread had a processor; others may be busy on it.
pub(super) fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// 1,000 lines: the variables first, then steps that use them; or the two in turn.
fn dockerfile(keyword: &str, in_turn: bool) -> String {
    let mut text = "FROM busybox\n".to_owned();
    for index in 0..300 {
        writeln!(text, "{keyword} NAME_{index}=value-{index} OTHER_{index}=\"$NAME_{}\"", index / 2).unwrap();
        if in_turn {
            writeln!(text, "RUN echo ${{NAME_{index}:-none}} $OTHER_{index}").unwrap();
        }
    }
    while text.lines().count() < 1000 {
        let number = text.len();
        writeln!(text, "RUN --mount=type=cache,target=/c make $NAME_7 \\\n    && echo {number} \"$OTHER_9\"")
            .unwrap();
        writeln!(text, "COPY --chown=1:1 a-$NAME_3 b /out/{number}/").unwrap();
        writeln!(text, "LABEL a.b.{number}=\"the value of $NAME_5\"").unwrap();
    }
    text
}

/// The shortest of several runs.
fn best(work: impl Fn()) -> Duration {
    let runs = (0..20).map(|_| {
        let start = now();
        work();
        now() - start
    });
    runs.min().unwrap_or_default()
}

#[test]
fn a_thousand_lines() {
    for (keyword, in_turn) in [("ENV", false), ("ARG", false), ("ENV", true), ("ARG", true)] {
        let (options, source) = (options(dockerfile(keyword, in_turn)), FakeSource::with(&["busybox"]));
        let planned = best(|| assert!(plan(&options, &source).is_ok()));
        let checked = best(|| assert!(check(&options, &source).error.is_none()));
        println!(
            "600 variables by {keyword}, in turn with steps: {in_turn}: {planned:?}, checked {checked:?}"
        );
        assert!(planned <= BUDGET && checked <= 2 * BUDGET, "{planned:?}, checked {checked:?}");
    }
}
