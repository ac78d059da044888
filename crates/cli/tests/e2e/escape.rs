//! A RUN step, or a container, that tries to leave.
//!
//! `escape/attempts.c` has the table of what it tries and what has to come of it, and what stands outside to be found. Here it
//! is run as root and as another user of the image, in steps and in containers, on each network, and looked at from outside.
//! `e2e/run.sh` does it all again as an ordinary user. Ways out that begin with the set-up are in
//! crates/sandbox/tests/escape.rs.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::{
        linux::fs::MetadataExt as _,
        unix::fs::{MetadataExt as _, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use fs_err as fs;

use super::{Kitchen, program, text};

const SOURCE: &str = include_str!("escape/attempts.c");
/// Fewer lines than this mean that the program did not try everything.
const ATTEMPTS_MIN: usize = 190;

/// What is outside: a file, and a process with whatever a process can have.
struct Outside {
    canary: PathBuf,
    secret: String,
    victim: Child,
    pid: String,
    port: String,
    settings: Vec<String>,
}

/// Settings of the machine that an escape would reach for.
const SETTINGS: [&str; 4] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
];

fn settings() -> Vec<String> {
    SETTINGS.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
}

impl Outside {
    fn new(kitchen: &Kitchen, attempts: &Path) -> Self {
        let secret = format!("galley-canary-{}", std::process::id());
        let canary = kitchen.path("canary");
        fs::write(&canary, &secret).unwrap();
        fs::set_permissions(&canary, PermissionsExt::from_mode(0o666)).unwrap();
        let mut command = Command::new(attempts);
        command.args(["victim", &secret]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut victim = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(victim.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let (pid, port) = line.trim().split_once(' ').unwrap();
        let (pid, port) = (pid.to_owned(), port.to_owned());
        Self { canary, secret, victim, pid, port, settings: settings() }
    }

    /// The command that tries everything.
    fn attack(&self) -> String {
        let disk = fs::metadata(&self.canary).unwrap().st_dev();
        let disk = format!("{}:{}", rustix::fs::major(disk), rustix::fs::minor(disk));
        let Self { canary, secret, pid, port, .. } = self;
        format!("/attempts try {} {secret} {pid} {port} {disk}", canary.display())
    }

    /// Nothing has changed, and nobody came but these many guests.
    fn assert_untouched(mut self, guests: usize) {
        assert_eq!(fs::read_to_string(&self.canary).unwrap(), self.secret);
        assert_eq!(settings(), self.settings);
        drop(self.victim.stdin.take());
        let said = self.victim.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), format!("signals 0 guests {guests}\n"));
    }
}

/// What came of all attempts, by kind: refused, allowed where that is no secret.
#[derive(Default)]
struct Tally(BTreeMap<String, [usize; 2]>);

impl Tally {
    /// Adds up the lines of one attack; gives the number of what was allowed.
    fn add(&mut self, place: &str, said: &str) -> usize {
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split('\t').collect()).collect();
        let rows: Vec<&Vec<&str>> = lines.iter().filter(|line| line.len() == 4).collect();
        let bad: Vec<_> = rows.iter().filter(|row| !matches!(row[3], "refused" | "allowed")).collect();
        assert!(bad.is_empty(), "{place}: {bad:?}");
        assert!(said.ends_with(&format!("attempts\t{}\n", rows.len())), "{place}: {said}");
        assert!(rows.len() >= ATTEMPTS_MIN, "{place}: only {} attempts", rows.len());
        for row in &rows {
            self.0.entry(row[0].to_owned()).or_default()[usize::from(row[3] == "allowed")] += 1;
        }
        rows.iter().filter(|row| row[3] == "allowed").count()
    }

    /// Past libtest, which keeps what a test prints when it passes.
    fn print(&self) {
        let mut out = std::io::stderr().lock();
        let sum = |which: &dyn Fn(&[usize; 2]) -> usize| self.0.values().map(which).sum::<usize>();
        for (kind, [refused, allowed]) in &self.0 {
            let all = refused + allowed;
            writeln!(out, "escape {kind:<11} {all:>5} attempted {refused:>5} refused {allowed:>3} allowed")
                .unwrap();
        }
        let (refused, allowed) = (sum(&|it| it[0]), sum(&|it| it[1]));
        let all = refused + allowed;
        writeln!(
            out,
            "escape {:<11} {all:>5} attempted {refused:>5} refused {allowed:>3} allowed, 0 escaped",
            "all"
        )
        .unwrap();
    }
}

/// The program, static; `None`, said loudly, where there is no C compiler.
fn compile(kitchen: &Kitchen) -> Option<PathBuf> {
    let path = kitchen.env.work().join("attempts");
    let mut command = Command::new("cc");
    command.args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-x", "c", "-", "-o"]).arg(&path);
    let Ok(mut compiler) = command.stdin(Stdio::piped()).spawn() else {
        eprintln!("SKIPPED: there is no C compiler; `make test` installs it");
        return None;
    };
    compiler.stdin.take().unwrap().write_all(SOURCE.as_bytes()).unwrap();
    assert!(compiler.wait().unwrap().success(), "attempts.c does not compile");
    Some(path)
}

#[test]
fn no_attempt_leads_out() {
    let Some(kitchen) = Kitchen::new() else { return };
    let Some(attempts) = compile(&kitchen) else { return };
    let outside = Outside::new(&kitchen, &attempts);
    let attack = outside.attack();
    let mut tally = Tally::default();
    let mut guests = 0;
    kitchen.dockerfile(&format!(
        "FROM busybox AS app\nCOPY attempts /attempts\nRUN mkdir /said && chmod 777 /said\n\
         FROM app\nRUN --network=none {attack} >/said/root\n\
         RUN {attack} >/said/network\n\
         RUN --network=host {attack} host-network >/said/host\n\
         USER 65534\nRUN --network=none {attack} >/said/nobody\n"
    ));
    let build = ["--allow", "network.host", "."];
    for (path, file) in kitchen.files(&build) {
        if let Some(place) = path.strip_prefix("said/") {
            guests += tally.add(place, &String::from_utf8_lossy(&file.content));
        }
    }
    kitchen.build(&["--target", "app", "-t", "app", "."]);
    let attack: Vec<&str> = attack.split(' ').collect();
    for flags in [
        &["--network=none"][..],
        &["--network=none", "-u", "65534"],
        &["--network=none", "-v", "volume:/tmp"],
        &[],
        &["--network=host"],
    ] {
        let host: &[&str] = if flags.contains(&"--network=host") { &["host-network"] } else { &[] };
        let said = kitchen.galley(&[&["run", "--rm"], flags, &["app"], &attack, host].concat());
        guests += tally.add(&format!("{flags:?}"), &said);
    }
    outside.assert_untouched(guests);
    tally.print();
}

/// Mount points are made and taken away again in directories that a step controls (CVE-2024-23652, -23653 in BuildKit).
#[test]
fn links_in_the_way_of_mounts_lead_nowhere() {
    let Some(kitchen) = Kitchen::new() else { return };
    let outside = kitchen.path("outside");
    fs::create_dir_all(outside.join("kept")).unwrap();
    fs::write(outside.join("kept/file"), "kept").unwrap();
    fs::write(kitchen.path("secret"), "secret").unwrap();
    let before = look(&outside);
    let there = outside.display();
    let secret = format!("id=s,src={}", kitchen.path("secret").display());
    kitchen.dockerfile(&format!(
        "FROM busybox\nRUN ln -s {there} /link; mkdir -p /a /b; ln -s ../../../../../../../..{there} /relative\n\
         RUN --mount=type=cache,target=/link/cache echo x >/link/cache/f\n\
         RUN --mount=type=tmpfs,target=/link/kept echo x >/link/kept/f\n\
         RUN --mount=type=bind,target=/relative/bind true\n\
         RUN --mount=type=secret,id=s,target=/link/kept/file cat /link/kept/file >/a/secret\n\
         RUN --mount=type=cache,target=/x/kept mv /x /y && ln -s {there} /x\n\
         RUN --mount=type=secret,id=s,target=/z/kept/file mv /z /w && ln -s {there} /z\n\
         WORKDIR /link/made\nRUN echo x >f\n"
    ));
    let files = kitchen.files(&["--secret", &secret, "."]);
    assert_eq!(files["a/secret"].content, b"secret");
    assert_eq!(look(&outside), before);
    let volume = "volume:/link/volume";
    kitchen.build(&["-t", "app", "."]);
    kitchen.galley(&["run", "--rm", "-v", volume, "-w", "/relative/w", "app", "sh", "-c", "echo x >f"]);
    assert_eq!(look(&outside), before);
}

/// Names, sizes and times of all that is in a folder.
fn look(folder: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        found.push((entry.path(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()));
        if metadata.is_dir() {
            found.extend(look(&entry.path()));
        }
    }
    found.sort();
    let own = fs::metadata(folder).unwrap();
    found.push((folder.to_owned(), 0, own.mtime(), own.mtime_nsec()));
    found
}

/// CVE-2019-5736 in runc: a program of the image that has galley itself executed, and writes to it.
#[test]
fn its_own_program_cannot_be_overwritten() {
    let Some(kitchen) = Kitchen::new() else { return };
    let own = PathBuf::from(program());
    let state = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec(), metadata.mode())
    };
    let before = state(&own);
    let write =
        "for exe in /proc/self/exe /proc/1/exe; do (echo x >>$exe) 2>&1; chmod 777 $exe 2>&1; done; true";
    kitchen.dockerfile(&format!(
        "FROM busybox\nRUN printf '#!/proc/self/exe\\n' >/again && chmod 755 /again; ln -s /proc/self/exe /exe\nRUN {write}\n"
    ));
    kitchen.build(&["-t", "app", "."]);
    for entrypoint in ["/again", "/proc/self/exe", "/exe", "/proc/1/exe"] {
        let mut command = kitchen.command(&["run", "--rm", "--entrypoint", entrypoint, "app", "version"]);
        let output = command.output().unwrap();
        assert!(!output.status.success() || !output.stdout.is_empty(), "{}", text(&output));
    }
    kitchen.galley(&["run", "--rm", "app", "sh", "-c", write]);
    assert_eq!(state(&own), before);
}

/// Setuid programs and device files of layers are no way to become another user of the machine.
#[test]
fn what_layers_hold_is_out_of_reach_for_others() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile(
        "FROM busybox\nRUN cp /bin/busybox /become && chmod 6755 /become; busybox mknod /disk b 254 0 && chmod 666 /disk; true\n\
         RUN --mount=type=cache,target=/c cp -p /become /c/become\n",
    );
    kitchen.build(&["-t", "app", "."]);
    kitchen.galley(&["run", "--name", "kept", "-v", "/v", "app", "cp", "-p", "/become", "/v/become"]);
    let store = kitchen.env.store();
    assert_eq!(fs::metadata(&store).unwrap().mode() & 0o077, 0, "the store is closed to others");
    let found = setuid_programs(&store);
    assert!(found.len() >= 3, "in a layer, in a cache and in a volume: {found:?}");
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Only the store keeps others out.
    fs::set_permissions(kitchen.env.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for path in found {
        let mut command = kitchen.env.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&path).args(["id", "-u"]);
        let output = command.current_dir("/").output().unwrap();
        assert!(!output.status.success(), "{}: {}", path.display(), text(&output));
    }
}

/// All files below a folder that would run as their owner.
fn setuid_programs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        if metadata.is_dir() {
            found.extend(setuid_programs(&entry.path()));
        } else if metadata.mode() & 0o4000 != 0 {
            found.push(entry.path());
        }
    }
    found
}

/// CVE-2018-15664 in Docker: what is read from a running container stays in it while the container changes links.
#[test]
fn a_container_that_changes_links_shows_nothing_of_the_host() {
    let Some(kitchen) = Kitchen::new() else { return };
    let outside = kitchen.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "galley-canary").unwrap();
    let script = format!(
        "cd /tmp; mkdir -p real; echo inside >real/file; \
         while :; do ln -s {} link; mv -T link part 2>/dev/null; rm -f part; cp -r real part; rm -r part; done",
        outside.display()
    );
    kitchen.dockerfile("FROM busybox\n").build(&["-t", "app", "."]);
    kitchen.galley(&["run", "-d", "--name", "swaps", "app", "busybox", "sh", "-c", &script]);
    for _ in 0..8 {
        let output = kitchen.command(&["export", "swaps"]).output().unwrap();
        let found = output.stdout.windows(13).any(|window| window == b"galley-canary");
        assert!(!found, "a link of the container has led outside");
    }
    kitchen.galley(&["stop", "-t", "0", "swaps"]);
}

/// From a directory of the host, `..` leads to all of it.
#[test]
fn a_directory_as_standard_input_is_refused() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM busybox\n").build(&["-t", "app", "."]);
    let mut command = kitchen.command(&["run", "--rm", "-i", "app", "ls", "/proc/self/fd/0/.."]);
    let output = command.stdin(fs::File::open(kitchen.env.path()).unwrap().into_parts().0).output().unwrap();
    assert!(!output.status.success() && text(&output).contains("Is a directory"), "{}", text(&output));
}
