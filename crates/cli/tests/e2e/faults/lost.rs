//! The kernel says once that the disk did not take something. Builds to come do not rely on it.

use galley_testkit::Meddler;
use rustix::io::Errno;

use super::{super::Kitchen, writes::sound, *};

/// A kitchen with the image `old`, which `make` has made.
fn with_old(make: &str) -> Option<(Meddler, Kitchen)> {
    let (meddler, kitchen) = (Meddler::new()?, Kitchen::new()?);
    kitchen.dockerfile(&format!("FROM busybox\n{make}"));
    kitchen.build(&["-t", "old", "."]);
    Some((meddler, kitchen))
}

/// The build of `new`, which has a step more: so large that it is written back before the barrier, too.
fn build_of_new(kitchen: &Kitchen, make: &str, nth: usize) -> Command {
    let more = format!("RUN head -c 2000000 /dev/urandom > /more{nth} && echo second\n");
    kitchen.dockerfile(&format!("FROM busybox\n{make}{more}"));
    kitchen.build_command(&["--progress=plain", "-t", "new", "."])
}

/// Whether the second RUN is executed, and not remembered. The first is, in any case.
fn runs(output: Output) -> bool {
    let said = text(&succeeded(output));
    let printed = |end: &str| said.lines().any(|line| line.ends_with(end) && !line.contains("RUN"));
    assert!(!printed(" first"), "{said}");
    printed(" second")
}

#[test]
fn what_did_not_reach_the_disk_is_made_anew() {
    let make = "RUN head -c 2000000 /dev/urandom > /made && echo first\n";
    let Some((meddler, kitchen)) = with_old(make) else { return };
    // Once before the barrier and once by it, each time of a new build.
    for nth in [1, 2] {
        let build = || build_of_new(&kitchen, make, nth);
        let meddle = meddler.below(&[&kitchen.env.store()]).calls("syncfs").nth(nth).fails(Errno::IO);
        let (code, said) = failed(meddle.command(&build()).output().unwrap());
        assert!(code == Some(4) && said.contains("Input/output error"), "{said}");
        assert_eq!(kitchen.galley(&["images", "-q", "new"]), "");
        let checked = kitchen.galley(&["system", "check"]);
        assert!(checked.contains("a disk error came before it was all written back"), "{checked}");
        sound(&kitchen, "after the failure").unwrap();
        // What was there before is as good as it was.
        kitchen.galley(&["run", "--rm", "old", "true"]);
        assert!(runs(build().output().unwrap()));
        assert!(!runs(build().output().unwrap()));
        kitchen.galley(&["rmi", "new"]);
    }
    kitchen.galley(&["system", "check", "--repair"]);
    let checked = kitchen.galley(&["system", "check"]);
    assert!(!checked.contains("disk error"), "{checked}");
}

/// The archives of its layers come with a base, and are not fetched for a build that has the layers. They are young when the
/// barrier ends, so that nobody can tell by their times that it has seen them.
#[test]
fn what_a_base_came_as_is_still_there() {
    let Some(meddler) = Meddler::new() else { return };
    for folder in ["barriers", "refs"] {
        let Some(kitchen) = Kitchen::new() else { return };
        kitchen.dockerfile("FROM busybox\nRUN echo > /made\n");
        let build = || kitchen.build_command(&["--progress=plain", "-t", "new", "."]);
        let meddle =
            meddler.below(&[&kitchen.env.store().join(folder)]).calls("fsync").nth(1).fails(Errno::IO);
        failed(meddle.command(&build()).output().unwrap());
        succeeded(build().output().unwrap());
        kitchen.galley(&["save", "-o", &kitchen.path("saved.tar").display().to_string(), "new"]);
        sound(&kitchen, folder).unwrap();
    }
}

/// Nobody knows what the disk would have said: it is asked by the next one, and what was made is there.
#[test]
fn a_kill_while_it_is_asked_costs_nothing() {
    let make = "RUN echo first\n";
    let Some((meddler, kitchen)) = with_old(make) else { return };
    for nth in [1, 2] {
        let build = || build_of_new(&kitchen, make, nth);
        let meddle = meddler.below(&[&kitchen.env.store()]).calls("syncfs").nth(nth).kills();
        assert!(!meddle.command(&build()).output().unwrap().status.success());
        // A thread asks while the build goes on, and the barrier asks at its end: at the first of the two nothing is tagged yet,
        // at the second the step is on record. What else was written by then is a matter of time.
        let tagged = kitchen.galley(&["images", "-q", "new"]);
        let executed = runs(build().output().unwrap());
        assert!(if nth == 1 { tagged.is_empty() } else { !executed }, "{nth}: {tagged:?}, {executed}");
        assert!(!runs(build().output().unwrap()));
        sound(&kitchen, "after the kill").unwrap();
        kitchen.galley(&["rmi", "new"]);
    }
}
