//! RUN steps: what each costs, and that the hundredth costs what the first did.

use std::fmt::Write;

use super::{check_each, kitchen};
use crate::e2e::Kitchen;

/// `count` steps after a copy, each of which leaves a file: so many layers lie below the last one.
fn steps(kitchen: &Kitchen, count: usize) {
    let mut text = "FROM busybox\nCOPY f /f\n".to_owned();
    for number in 0..count {
        writeln!(text, "RUN --network=none echo {number} > /{number}").unwrap();
    }
    kitchen.dockerfile(&text);
}

/// Builds all of them, in a store that has the base unpacked and nothing of the steps.
fn check_steps(scenario: &str, count: usize) {
    let Some(kitchen) = kitchen() else { return };
    kitchen.env.write("f", "1");
    kitchen.dockerfile("FROM busybox\nCOPY f /f\nRUN --network=none true\n").build(&["."]);
    steps(&kitchen, count);
    let mut turn = 0;
    check_each(scenario, &mut || {
        turn += 1;
        kitchen.env.write("f", format!("{scenario} {turn}"));
        kitchen.build_command(&["."])
    });
}

#[test]
fn one_step() {
    check_steps("run-1-step", 1);
}

/// With [`one_step`] and [`forty_steps`] this shows how the cost of a step grows with the layers below it.
#[test]
fn twenty_steps() {
    check_steps("run-20-steps", 20);
}

#[test]
fn forty_steps() {
    check_steps("run-40-steps", 40);
}

/// An edit of one line with a cache mount: the compiler is a copy of 4 MB here, and its result moves to another stage. All
/// of it is written twice: by the step, and into the layer of the other stage, whose path differs.
#[test]
fn an_edit_with_a_cache_mount() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.env.write("main.go", "1");
    kitchen.dockerfile(
        "FROM busybox AS builder\nWORKDIR /src\nCOPY main.go ./\n\
         RUN --network=none --mount=type=cache,target=/cache \
         [ -e /cache/big ] || head -c 4000000 /dev/zero > /cache/big; cat /cache/big main.go > /app\n\
         FROM scratch\nCOPY --from=builder /app /bin/app\n",
    );
    kitchen.build(&["."]);
    let mut turn = 0;
    check_each("edit-cache-mount", &mut || {
        turn += 1;
        kitchen.env.write("main.go", format!("edit {turn}"));
        kitchen.build_command(&["."])
    });
}
