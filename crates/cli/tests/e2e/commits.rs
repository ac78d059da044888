//! `galley commit`.

use std::process::Command;

use fs_err as fs;
use galley_testkit::{Meddle, Meddler};
use serde_json::{Value, json};

use super::{Kitchen, crash::wait_for, offline, program, succeeded, text};

fn kitchen() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(
        "FROM busybox\nENV A=1\nWORKDIR /srv\nVOLUME /vol\nONBUILD RUN true\nENTRYPOINT [\"sh\", \"-c\"]\nCMD [\"true\"]\n\
         RUN echo old > /old && echo gone > /gone && mkdir /dir && echo x > /dir/a && echo x > /other && chown 7:8 /other\n",
    );
    kitchen.build(&["-t", "app", "."]);
    Some(kitchen)
}

fn config(kitchen: &Kitchen, image: &str) -> Value {
    let all: Value = serde_json::from_str(&kitchen.galley(&["inspect", image])).unwrap();
    all[0].clone()
}

#[test]
fn an_image_is_what_the_container_has_become() {
    let Some(kitchen) = kitchen() else { return };
    let script = "echo new > /new; chown 5:6 /new; chmod 4755 /new; rm /gone; rm -r /dir; mkdir /dir; ln -s new /link; ln /old /name; \
                  echo more >> /old; echo hidden > /vol/file";
    let arguments = ["run", offline(), "--name", "web", "-e", "B=2", "-l", "team=x", "--expose", "81"];
    succeeded(kitchen.command(&[&arguments[..], &["app", script]].concat()).output().unwrap());
    let id = kitchen.galley(&["commit", "-m", "by hand", "-a", "Me <me@x>", "web", "made:1"]);
    assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
    let (made, app) = (config(&kitchen, "made:1"), config(&kitchen, "app"));
    assert_eq!(made["Id"], id.trim());
    let run = &made["Config"];
    assert_eq!(run["Entrypoint"], json!(["sh", "-c"]));
    assert_eq!(run["Cmd"], json!([script]));
    assert_eq!(run["Env"], json!(["PATH=/bin", "A=1", "B=2"]));
    assert_eq!((&run["WorkingDir"], &run["Labels"]["team"]), (&json!("/srv"), &json!("x")));
    assert_eq!((&run["OnBuild"], &run["Volumes"]), (&app["Config"]["OnBuild"], &app["Config"]["Volumes"]));
    assert_eq!(run["ExposedPorts"], json!({"81/tcp": {}}));
    assert_eq!(made["Author"], "Me <me@x>");
    let layers = |image: &Value| image["RootFS"]["Layers"].as_array().unwrap().clone();
    assert_eq!(layers(&made)[..layers(&app).len()], layers(&app));
    assert_eq!(layers(&made).len(), layers(&app).len() + 1);
    let history =
        kitchen.galley(&["history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1"]);
    assert_eq!(history.lines().next().unwrap(), format!("{script}|by hand"));

    let look = "stat -c '%n %u:%g %a' /new /other; cat /old /name /link; ls /dir /vol; ls /gone; exit 0";
    let shown = kitchen.command(&["run", "--rm", offline(), "made:1", look]).output().unwrap();
    let shown = String::from_utf8(succeeded(shown).stdout).unwrap();
    assert_eq!(shown, "/new 5:6 4755\n/other 7:8 644\nold\nmore\nold\nmore\nnew\n/dir:\n\n/vol:\n");
    // Nothing of what galley mounts is in it.
    let files = |image: &str| {
        kitchen.dockerfile(&format!("FROM {image}\n"));
        kitchen.files(&["."])
    };
    let (made, app) = (files("made:1"), files("app"));
    for path in
        ["etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv", "proc", "sys", "dev", "dev/null"]
    {
        assert_eq!(made.get(path), app.get(path), "{path}");
    }
    // The container is as it was, and has nothing to do with the image.
    kitchen.galley(&["rm", "web"]);
    let again = kitchen.command(&["run", "--rm", offline(), "made:1", "cat /new"]).output().unwrap();
    assert_eq!(String::from_utf8(succeeded(again).stdout).unwrap(), "new\n");
}

#[test]
fn changes_are_instructions() {
    let Some(kitchen) = kitchen() else { return };
    kitchen.galley(&["create", "--name", "web", "--entrypoint", "cat", "-u", "7", "app", "/old"]);
    let changes = [
        "ENV A=3",
        "CMD [\"/other\"]",
        "EXPOSE 80",
        "LABEL a=b",
        "USER 0",
        "WORKDIR x",
        "ONBUILD RUN false",
        "STOPSIGNAL INT",
        "VOLUME /data",
    ];
    let flags: Vec<&str> = changes.iter().flat_map(|change| ["-c", change]).collect();
    let id = kitchen.galley(&[&["container", "commit"], &flags[..], &["web"]].concat());
    let run = config(&kitchen, id.trim())["Config"].clone();
    assert_eq!(run["Env"], json!(["PATH=/bin", "A=3"]));
    assert_eq!((&run["Cmd"], &run["Entrypoint"]), (&json!(["/other"]), &json!(["cat"])));
    assert_eq!(run["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!((&run["User"], &run["WorkingDir"]), (&json!("0"), &json!("/srv/x")));
    assert_eq!(run["OnBuild"], json!(["RUN true", "RUN false"]));
    assert_eq!((&run["StopSignal"], &run["Labels"]), (&json!("INT"), &json!({"a": "b"})));
    assert_eq!(run["Volumes"], json!({"/data": {}, "/vol": {}}));
    // It never ran: there is nothing new in it.
    let count = |image: &str| config(&kitchen, image)["RootFS"]["Layers"].as_array().unwrap().len();
    assert_eq!(count(id.trim()), count("app"));
    let shown = kitchen.command(&["run", "--rm", offline(), id.trim()]).output().unwrap();
    assert_eq!(String::from_utf8(succeeded(shown).stdout).unwrap(), "x\n");
    for (change, expected) in [("RUN true", "changes more than the config"), ("NONSENSE", "is refused")] {
        let output = kitchen.command(&["commit", "-c", change, "web"]).output().unwrap();
        assert!(!output.status.success() && text(&output).contains(expected), "{}", text(&output));
    }
    let output = kitchen.command(&["commit", "nothing"]).output().unwrap();
    assert!(text(&output).contains("no such container: nothing"), "{}", text(&output));
}

#[test]
fn one_that_runs_stands_still_meanwhile_and_goes_on() {
    let Some(kitchen) = kitchen() else { return };
    let script = "i=0; while true; do i=$((i + 1)); echo $i > /count; sleep 0.05; done";
    kitchen.galley(&["run", "-d", offline(), "--name", "web", "app", script]);
    let file = kitchen.path("count");
    let count = || {
        // Between two numbers the file is empty.
        for _ in 0..1000 {
            let copied = kitchen.command(&["cp", "web:/count", file.to_str().unwrap()]).output().unwrap();
            // It may not be there yet.
            if copied.status.success()
                && let Ok(number) = fs::read_to_string(&file).unwrap().trim().parse::<u64>()
            {
                return number;
            }
        }
        panic!("no number")
    };
    let needed = kitchen.command(&["commit", "--pause", "web", "made"]).output().unwrap();
    if !needed.status.success() {
        assert!(
            text(&needed).contains("cannot pause") || text(&needed).contains("pause cannot be had"),
            "{}",
            text(&needed)
        );
        eprintln!("SKIPPED: {}", text(&needed));
        kitchen.galley(&["rm", "-f", "web"]);
        return;
    }
    let usual = kitchen.command(&["commit", "web", "made"]).output().unwrap();
    assert!(usual.status.success() && usual.stderr.is_empty(), "{}", text(&usual));
    assert_eq!(kitchen.galley(&["inspect", "-f", "{{.State.Status}}", "web"]), "running\n");
    let before = count();
    while count() == before {}
    // One that was paused stays so.
    kitchen.galley(&["pause", "web"]);
    kitchen.galley(&["commit", "web", "made"]);
    assert_eq!(kitchen.galley(&["inspect", "-f", "{{.State.Status}}", "web"]), "paused\n");
    kitchen.galley(&["rm", "-f", "web"]);
}

/// A container that can be paused, and `commit` of it, to which something happens where its files become a layer.
fn paused_commit(meddler: &Meddler, kitchen: &Kitchen) -> Option<(Command, Meddle)> {
    kitchen.galley(&["run", "-d", offline(), "--name", "web", "app", "echo new > /new; exec sleep 1000"]);
    let paused = kitchen.command(&["pause", "web"]).output().unwrap();
    if !paused.status.success() {
        eprintln!("SKIPPED: {}", text(&paused));
        kitchen.galley(&["rm", "-f", "web"]);
        return None;
    }
    kitchen.galley(&["unpause", "web"]);
    let meddle = meddler.below(&[&kitchen.env.store()]).calls("mkdirat").on("/import-").nth(1);
    Some((kitchen.command(&["commit", "--pause", "web", "made"]), meddle))
}

/// However `commit` comes to its end, the container does not stand still after it.
#[test]
fn a_commit_that_is_killed_leaves_nothing_paused() {
    let (Some(meddler), Some(kitchen)) = (Meddler::new(), kitchen()) else { return };
    let Some((commit, meddle)) = paused_commit(&meddler, &kitchen) else { return };
    assert!(!meddle.kills().command(&commit).output().unwrap().status.success());
    let status = || kitchen.galley(&["inspect", "-f", "{{.State.Status}}", "web"]);
    wait_for("the container to go on", || status() == "running\n");
    assert_eq!(kitchen.galley(&["images", "-q", "made"]), "");
    kitchen.galley(&["rm", "-f", "web"]);
}

/// Somebody lets the container go on meanwhile, and stops it again: that is not for `commit` to end.
#[test]
fn a_pause_is_ended_by_whoever_made_it() {
    let (Some(meddler), Some(kitchen)) = (Meddler::new(), kitchen()) else { return };
    let Some((commit, meddle)) = paused_commit(&meddler, &kitchen) else { return };
    let galley = program().into_string().unwrap();
    let script = format!("{galley} unpause web && {galley} pause web");
    succeeded(meddle.runs(&script).command(&commit).output().unwrap());
    assert_eq!(kitchen.galley(&["inspect", "-f", "{{.State.Status}}", "web"]), "paused\n");
    kitchen.galley(&["rm", "-f", "web"]);
}
