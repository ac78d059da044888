//! Memory does not depend on what flows.

use super::{super::Kitchen, *};

const BYTES_MAX: u64 = 64 << 20;

/// The most memory that a program has until it ends.
pub(super) fn peak_of(child: &mut std::process::Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        thread::sleep(Duration::from_millis(2));
    }
    peak
}

/// The most memory that a program has until it ends, and the seconds of a processor that it and its children take.
pub(super) fn cost_of(child: &std::process::Child) -> (u64, f64) {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let (folder, mut peak) = (format!("/proc/{}", child.id()), 0);
    while waitid(WaitId::Pid(pid), options).unwrap().is_none() {
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        thread::sleep(Duration::from_millis(5));
    }
    let stat = fs::read_to_string(format!("{folder}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    (peak, ticks / 100.0)
}

/// The most memory the program had while it did this.
pub(super) fn peak(kitchen: &Kitchen, arguments: &[&str]) -> u64 {
    let mut child = spawn(kitchen, arguments);
    let peak = peak_of(&mut child);
    succeeded(child.wait_with_output().unwrap());
    eprintln!("{} MiB: {arguments:?}", peak >> 20);
    peak
}

#[test]
#[ignore = "takes a minute"]
fn one_large_layer_and_many() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("large/data", noise(1, 300 << 20));
    kitchen.env.write("large/Dockerfile", "FROM busybox\nCOPY data /\n");
    let copies = (0..40).map(|number| {
        kitchen.env.write(&format!("many/data{number}"), noise(number + 2, 3 << 20));
        format!("COPY data{number} /\n")
    });
    let copies: String = copies.collect();
    kitchen.env.write("many/Dockerfile", format!("FROM busybox\n{copies}"));
    for context in ["large", "many"] {
        let registry = Registry::start();
        kitchen.build(&["-t", "x", context]);
        for compression in ["gzip", "zstd"] {
            let name = format!("{}/team/{compression}:1", registry.host());
            let output =
                format!("type=registry,name={name},compression={compression},force-compression=true");
            let layout = format!("busybox=oci-layout://{}", kitchen.path("busybox").display());
            let build = ["build", "--build-context", &layout, "-o", &output, context];
            let Some(fresh) = Kitchen::new() else { return };
            for peak in [peak(&kitchen, &build), peak(&fresh, &["pull", &name])] {
                assert!(peak <= BYTES_MAX, "{} MiB with {compression}", peak >> 20);
            }
        }
    }
}

#[test]
#[ignore = "takes a minute"]
fn fifty_thousand_files() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("Dockerfile", "FROM scratch\nCOPY . /app\n");
    for number in 0..50_000 {
        kitchen.env.write(&format!("{:03}/{number:05}", number / 100), number.to_string());
    }
    let export = format!("type=oci,dest={}", kitchen.path("oci.tar").display());
    let builds: [&[&str]; 3] = [&["build", "-t", "x", "."], &["build", "."], &["build", "-o", &export, "."]];
    for build in builds {
        let peak = peak(&kitchen, build);
        assert!(peak <= BYTES_MAX, "{} MiB: {build:?}", peak >> 20);
    }
}
