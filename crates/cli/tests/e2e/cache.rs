//! What is executed again, counted and not timed.

use super::{Counts, Kitchen, succeeded, text};

const TWO_STAGES: &str = "FROM busybox AS builder\nWORKDIR /src\nCOPY go.mod ./\nRUN cat go.mod > /deps\nCOPY . .\n\
    RUN cat main.go > /app\nFROM scratch\nCOPY --from=builder /app /app\n";

fn two_stages() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(TWO_STAGES);
    kitchen.env.write("go.mod", "module x");
    kitchen.env.write("main.go", "package main");
    Some(kitchen)
}

#[test]
fn nothing_is_executed_twice() {
    let Some(kitchen) = two_stages() else { return };
    assert!(kitchen.build(&["-t", "app", "."]).executed > 0);
    assert_eq!(kitchen.build(&["-t", "app", "."]).executed, 0);
    kitchen.build(&["--no-cache", "-t", "app", "."]);
    assert_eq!(kitchen.build(&["-t", "app", "."]).executed, 0);
}

#[test]
fn an_edit_executes_what_depends_on_it() {
    let Some(kitchen) = two_stages() else { return };
    kitchen.build(&["-t", "app", "."]);
    kitchen.env.write("main.go", "package main // edited");
    // COPY . ., the second RUN and the COPY --from; WORKDIR, COPY go.mod and the first RUN are found.
    assert_eq!(kitchen.build(&["-t", "app", "."]).executed, 3);
}

#[test]
fn equal_content_cuts_off_early() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox AS a\nCOPY in /in\nRUN echo constant > /out\n\
         FROM busybox\nCOPY --from=a /out /out\nRUN cat /out > /end\n",
    );
    kitchen.env.write("in", "one");
    kitchen.build(&["-t", "x", "."]);
    kitchen.env.write("in", "two");
    // COPY in, RUN echo and COPY --from are executed; the last RUN is not, since its parent is the same.
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 3);
}

#[test]
fn times_alone_rebuild_nothing() {
    let Some(kitchen) = two_stages() else { return };
    kitchen.build(&["-t", "app", "."]);
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let file = std::fs::OpenOptions::new().write(true).open(kitchen.env.work().join("main.go")).unwrap();
    file.set_modified(past).unwrap();
    assert_eq!(kitchen.build(&["-t", "app", "."]).executed, 0);
}

#[test]
fn same_size_and_same_time_with_other_content_is_noticed() {
    let Some(kitchen) = two_stages() else { return };
    let set = |content: &str| {
        kitchen.env.write("main.go", content);
        let file = std::fs::OpenOptions::new().write(true).open(kitchen.env.work().join("main.go")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000))
            .unwrap();
    };
    set("package main");
    kitchen.build(&["-t", "app", "."]);
    set("package niam");
    assert_eq!(kitchen.build(&["-t", "app", "."]).executed, 3);
}

#[test]
fn a_secret_is_no_part_of_the_key_and_stays_nowhere() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox\nRUN --mount=type=secret,id=k cat /run/secrets/k | wc -c > /length || true\n",
    );
    kitchen.env.write(".dockerignore", "k\n");
    kitchen.env.write("k", "very-secret-value-1");
    let arguments = ["--secret", "id=k,src=k", "-t", "x", "."];
    kitchen.build(&arguments);
    kitchen.env.write("k", "very-secret-value-2");
    assert_eq!(kitchen.build(&arguments).executed, 0);
    let grep = kitchen
        .env
        .command("grep")
        .args(["-r", "very-secret-value"])
        .arg(kitchen.env.store())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
}

#[test]
fn independent_stages_run_side_by_side() {
    let Some(kitchen) = Kitchen::new() else { return };
    let mut stages = String::new();
    for stage in 0..8 {
        stages += &format!("FROM busybox AS s{stage}\nRUN sleep 1 && touch /f{stage}\n");
    }
    stages += "FROM scratch\n";
    for stage in 0..8 {
        stages += &format!("COPY --from=s{stage} /f{stage} /\n");
    }
    kitchen.dockerfile(&stages);
    let output = succeeded(kitchen.build_command(&["."]).output().unwrap());
    let (mut sleeping, mut running, mut most) = (Vec::new(), 0_usize, 0);
    for line in String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.starts_with('{')) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let is_run = sleeping.contains(&event["step"]);
        match event["event"].as_str() {
            Some("planned") => {
                let steps = event["steps"].as_array().unwrap().iter().filter(|step| step["kind"] == "run");
                sleeping = steps.map(|step| step["id"].clone()).collect();
            }
            Some("started") if is_run => running += 1,
            Some("finished") if is_run => running -= 1,
            _ => {}
        }
        most = most.max(running);
    }
    assert_eq!(sleeping.len(), 8);
    assert!(most >= 2, "{most} at once: {}", text(&output));
}

#[test]
fn two_builds_at_once_share_one_execution() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\nRUN sleep 1; echo $$ > /pid\n");
    let mut children: Vec<_> = (0..2)
        .map(|_| kitchen.build_command(&["-t", "x", "."]).stderr(std::process::Stdio::piped()).spawn())
        .collect();
    let outputs = children.drain(..).map(|child| child.unwrap().wait_with_output().unwrap());
    let executed: usize = outputs.map(|output| super::counts(&succeeded(output)).executed).sum();
    assert_eq!(executed, 1);
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, Counts::default().executed);
}
