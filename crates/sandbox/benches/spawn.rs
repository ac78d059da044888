//! A trivial sandbox against bare loops of the same system calls: `cargo bench -p galley-sandbox` as root.
//!
//! `bare` is clone, overlay, pivot_root, exec, wait; `furnished` adds /proc, /dev with six devices, /dev/shm, /dev/pts
//! and /sys. The sandbox does all of that, and masks, capabilities and the filter. The three take turns in changing
//! order, so that a busy machine, and what the one before leaves to be torn down, slows them alike.

#![expect(clippy::print_stdout, reason = "a bench prints")]

mod bare;

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use bare::{bare, kitchen, private_mounts};
use galley_sandbox::{Handles, Layers, Network, Root, Spawner, Spec, Writable};

const ROUNDS: usize = 400;

fn main() {
    galley_sandbox::init();
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: needs root");
        return;
    }
    let kitchen = kitchen();
    let dir = kitchen.path();
    let spawner = Spawner::start().expect("a spawner");
    // The spawner makes mounts private once; so do the bare loops, in a parent of their own.
    private_mounts();
    let spec = spec(dir);
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let kind = (turn + round / 2) % 3;
            times[kind].push(match kind {
                0 => time(|| bare(dir, false)),
                1 => time(|| bare(dir, true)),
                _ => time(|| sandbox(&spawner, &spec)),
            });
        }
    }
    let [bare, furnished, sandbox] = times.map(summary);
    println!("bare       min {:.2?} p50 {:.2?} p90 {:.2?}", bare[0], bare[1], bare[2]);
    println!("furnished  min {:.2?} p50 {:.2?} p90 {:.2?}", furnished[0], furnished[1], furnished[2]);
    println!("sandbox    min {:.2?} p50 {:.2?} p90 {:.2?}", sandbox[0], sandbox[1], sandbox[2]);
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!(
        "sandbox / bare       min {:.2} p50 {:.2}",
        ratio(sandbox[0], bare[0]),
        ratio(sandbox[1], bare[1])
    );
    println!(
        "sandbox / furnished  min {:.2} p50 {:.2}",
        ratio(sandbox[0], furnished[0]),
        ratio(sandbox[1], furnished[1])
    );
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn summary(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times[0], times[times.len() / 2], times[times.len() * 9 / 10]]
}

fn spec(dir: &Path) -> Spec {
    let writable = Writable { upper: dir.join("upper"), work: dir.join("work") };
    let root = Root::Layers(Layers { lowers: vec![dir.join("base").into()], writable: Some(writable) });
    let mut spec = Spec::new(root, vec![OsString::from("/bin/true")]);
    spec.network = Network::Host;
    spec
}

fn sandbox(spawner: &Spawner, spec: &Spec) {
    let child = spawner.spawn(spec, Handles::default()).expect("a sandbox");
    assert!(child.wait().expect("its end").exit.success());
}
