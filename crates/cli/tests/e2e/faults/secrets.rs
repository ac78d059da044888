//! Passwords and the files they are in: broken, unreadable, no files at all. None is ever said or kept elsewhere.

use std::{
    fs::Permissions,
    io::{self, BufRead, Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use galley_oci::compress::{Compression, Compressor};
use galley_testkit::registry::{Auth, Lifetime, TokenAuth};

use super::{
    super::{Kitchen, by_chroot},
    *,
};

/// The password, its two base64 forms in an `auth` and on its own, what the token server hands out, and what steps are given
/// as files and variables.
const SECRETS: [&str; 7] = [
    "s3cret-password",
    "cm9ib3Q6czNjcmV0LXBhc3N3b3Jk",
    "czNjcmV0LXBhc3N3b3Jk",
    "s3cret-token",
    "s3cret-identity",
    "s3cret-of-a-file",
    "s3cret-of-a-variable",
];

fn holds_secret(bytes: &[u8]) -> Option<&'static str> {
    // Whole stores are searched: one byte of each, far from its beginning or near, is looked for as fast as memory goes.
    for (byte, before) in [(b'3', 1), (b'N', 2)] {
        let mut end = 0;
        while end < bytes.len() {
            end += (&bytes[end..]).skip_until(byte).unwrap();
            if bytes[end - 1] == byte
                && let Some(start) = end.checked_sub(1 + before)
                && let Some(found) =
                    SECRETS.into_iter().find(|secret| bytes[start..].starts_with(secret.as_bytes()))
            {
                return Some(found);
            }
        }
    }
    None
}

/// What a file holds, also when that is compressed.
fn holds_secret_inside(bytes: &[u8]) -> Option<&'static str> {
    let is_packed = bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"\x28\xb5\x2f\xfd");
    let mut plain = Vec::new();
    if is_packed
        && let Ok(mut decoder) = galley_oci::compress::decoder(Box::new(io::Cursor::new(bytes.to_vec())))
    {
        // What breaks off has a beginning.
        let _ = decoder.read_to_end(&mut plain);
    }
    holds_secret(bytes).or_else(|| holds_secret(&plain))
}

#[test]
fn each_secret_is_found() {
    for secret in SECRETS {
        // The longest holds another.
        assert!(
            holds_secret(format!("33Nscs3cret-{secret}").as_bytes())
                .is_some_and(|found| secret.contains(found))
        );
        let mut packed = Compressor::new(Vec::new(), Compression::Zstd, None, 1).unwrap();
        packed.write_all(format!("N{secret}").as_bytes()).unwrap();
        assert!(holds_secret_inside(&packed.finish().unwrap()).is_some());
    }
    for text in ["", "3", "N", "s3", "czN", "s3cret-passwor", "s3cret-", "czNjcmV0LXBhc3N3b3J"] {
        assert_eq!(holds_secret(text.as_bytes()), None);
    }
}

/// No file below `folder` has a secret in it.
fn no_secret_below(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            no_secret_below(&path);
        } else if kind.is_file() {
            assert_eq!(holds_secret_inside(&fs::read(&path).unwrap()), None, "in {}", path.display());
        }
    }
}

fn no_secret(kitchen: &Kitchen, output: &Output) {
    assert_eq!(holds_secret(text(output).as_bytes()), None, "{}", text(output));
    no_secret_below(&kitchen.env.store());
    no_secret_below(&kitchen.env.work());
}

fn log_in_command(kitchen: &Kitchen, registry: &Registry) -> Command {
    kitchen.command(&["login", "-u", "robot", "-p", "s3cret-password", &registry.host()])
}

fn log_in(kitchen: &Kitchen, registry: &Registry) {
    no_secret(kitchen, &succeeded(log_in_command(kitchen, registry).output().unwrap()));
}

#[test]
fn files_with_passwords_that_are_none() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::builder().auth(Auth::basic()).start();
    put_app(&registry, 1, 100);
    let file = kitchen.path("home/.docker/config.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let host = registry.host();
    let entry = |entry: &str| format!("{{\"auths\":{{\"{host}\":{entry}}}}}");
    let contents = [
        "{\"auths\":{\"x\":{\"auth\":\"cm9ib3Q6czNjcmV0LXBhc3N3b3Jk\"".to_owned(),
        "s3cret-password".to_owned(),
        "[\"s3cret-password\"]".to_owned(),
        entry("\"s3cret-password\""),
        entry("{\"auth\":\"s3cret-password\"}"),
        entry("{\"auth\":\"czNjcmV0LXBhc3N3b3Jk\"}"),
        entry("{\"auth\":[\"s3cret-password\"]}"),
        entry("{\"identitytoken\":{\"s3cret-password\":1}}"),
        " ".repeat(2 << 20),
    ];
    for content in contents {
        let _ = fs::remove_file(&file);
        fs::write(&file, &content).unwrap();
        let output = kitchen.command(&["pull", &app(&registry)]).output().unwrap();
        assert_eq!(output.status.code(), Some(6), "{content:.80}: {}", text(&output));
        assert!(text(&output).contains("config.json"), "{}", text(&output));
        no_secret(&kitchen, &output);
        let output = log_in_command(&kitchen, &registry).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 6)), "{content:.80}: {}", text(&output));
        no_secret(&kitchen, &output);
    }
}

#[test]
fn a_file_with_passwords_that_is_no_file() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::builder().auth(Auth::basic()).start();
    put_app(&registry, 1, 100);
    let file = kitchen.path("home/.docker/config.json");
    let folder = file.parent().unwrap();
    fs::create_dir_all(&file).unwrap();
    let refused = || {
        let pull = kitchen.command(&["pull", &app(&registry)]);
        for mut command in [pull, log_in_command(&kitchen, &registry)] {
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(6), "{}", text(&output));
            assert!(text(&output).contains("config.json"), "{}", text(&output));
            no_secret(&kitchen, &output);
        }
    };
    refused();
    fs::remove_dir(&file).unwrap();
    symlink("config.json", &file).unwrap();
    refused();
    fs::remove_file(&file).unwrap();
    log_in(&kitchen, &registry);
    fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    if fs::read(&file).is_err() {
        refused();
    }
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let output = succeeded(kitchen.command(&["pull", &app(&registry)]).output().unwrap());
    assert!(text(&output).contains("holds passwords and has mode 0666"), "{}", text(&output));
    no_secret(&kitchen, &output);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "what login wrote on its way");
}

#[test]
fn whatever_fails_no_secret_is_said_or_kept() {
    for auth in [Auth::basic(), Auth::token()] {
        let Some(kitchen) = Kitchen::new() else { return };
        let registry = Registry::builder().auth(auth).start();
        put_app(&registry, 1, 1000);
        log_in(&kitchen, &registry);
        kitchen.dockerfile(&format!("FROM {}\nRUN echo a > /b\n", app(&registry)));
        let name = format!("{}/team/new:1", registry.host());
        let build = ["build", "--progress=plain", "-t", &name, "--push", "."];
        for (method, path, fault) in [
            ("*", "*/manifests/*", Fault::status(403)),
            ("*", "*/token*", Fault::status(403)),
            ("*", "*/token*", Fault::html()),
            ("*", "*/manifests/*", Fault::html()),
            ("GET", BLOBS, Fault::Corrupt),
            ("GET", BLOBS, Fault::status(401)),
            ("GET", "*/manifests/*", Fault::Redirect("http://127.0.0.1:1{path}".to_owned())),
            ("PUT", "*", Fault::status(400)),
            ("POST", "*", Fault::status(401)),
        ] {
            registry.heal();
            registry.inject(Rule::on(method, path, fault).always());
            for arguments in [&build[..], &["login", &registry.host()]] {
                let output = kitchen.command(arguments).env("RUST_BACKTRACE", "1").output().unwrap();
                no_secret(&kitchen, &output);
                assert_ne!(output.status.code(), Some(70), "{}", text(&output));
            }
        }
        registry.heal();
        succeeded(kitchen.command(&build).output().unwrap());
        no_secret_below(&kitchen.env.store());
    }
}

/// A kitchen with a secret in a file, and a build of `step`, which is given that and one of the environment.
fn with_secrets(step: &str, arguments: &[&str]) -> Option<(Kitchen, Command)> {
    let kitchen = Kitchen::new()?;
    let file = kitchen.path("secret");
    fs::write(&file, "s3cret-of-a-file").unwrap();
    let mounts = "--mount=type=secret,id=file --mount=type=secret,id=variable,env=VARIABLE";
    kitchen.dockerfile(&format!("FROM busybox\nRUN {mounts} {step}\nRUN echo after > /after\n"));
    let file = format!("--secret=id=file,src={}", file.display());
    let secrets = [file.as_str(), "--secret=id=variable,env=GIVEN"];
    let mut command = kitchen.build_command(&[&secrets, arguments, &["."]].concat());
    command.env("GIVEN", "s3cret-of-a-variable").env("RUST_BACKTRACE", "1");
    Some((kitchen, command))
}

/// What the store and every command tell of what was built.
fn told(kitchen: &Kitchen) -> Vec<Output> {
    let commands: [&[&str]; 9] = [
        &["history", "--no-trunc", "x"],
        &["inspect", "x"],
        &["images"],
        &["report", "-o", "page.html"],
        &["report", "--list"],
        &["save", "-o", "saved.tar", "x"],
        &["system", "df", "--verbose"],
        &["buildx", "du", "--verbose"],
        &["report", "--trace", "trace-again.json"],
    ];
    commands.iter().map(|words| kitchen.command(words).output().unwrap()).collect()
}

#[test]
fn secrets_of_steps_are_in_no_file_and_no_message() {
    let used =
        "/bin/busybox grep -q ^s3cret- /run/secrets/file && test ${#VARIABLE} = 20 && echo seen > /seen";
    // A step that works, one that fails, and one whose program is not there.
    let fails = format!("{used} && exit 7");
    for (step, progress, works) in [
        (used, "plain", true),
        (used, "rawjson", true),
        (&fails, "plain", false),
        ("/no/such/program", "rawjson", false),
    ] {
        let progress = format!("--progress={progress}");
        let outputs = [
            "-t=x",
            "-o=type=image",
            "-o=type=tar,dest=files.tar",
            "-o=type=oci,dest=image.tar,compression=uncompressed",
            "--metadata-file=metadata.json",
            "--iidfile=id",
            "--report=report.html",
            "--trace=trace.json",
            "--cache-to=type=local,dest=cache",
            &progress,
        ];
        let Some((kitchen, mut command)) = with_secrets(step, &outputs) else { return };
        let output = command.output().unwrap();
        assert_eq!(output.status.success(), works, "{}", text(&output));
        no_secret(&kitchen, &output);
        if works {
            told(&kitchen).iter().for_each(|output| assert_eq!(holds_secret(text(output).as_bytes()), None));
            no_secret(&kitchen, &output);
            assert!(kitchen.env.work().join("saved.tar").exists());
        }
    }
}

#[test]
fn a_killed_build_leaves_no_secret() {
    let step = "cat /run/secrets/file > /dev/shm/copy; echo started; sleep 600";
    let Some((kitchen, mut command)) = with_secrets(step, &["--progress=plain"]) else { return };
    let log = kitchen.path("log");
    command.stderr(fs::File::create(&log).unwrap().into_file());
    let mut child = command.spawn().unwrap();
    let said = |words: &str| fs::read_to_string(&log).unwrap().contains(words);
    wait_for("the step", || said(" started\n"));
    if !by_chroot() {
        // While it runs there is none on the disk either.
        no_secret_below(&kitchen.env.store());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of its processes", || leftovers(&kitchen).is_empty());
    if by_chroot() {
        // Any command removes them.
        kitchen.galley(&["images"]);
    }
    no_secret_below(&kitchen.env.store());
    no_secret_below(&kitchen.env.work());
    assert_eq!(holds_secret(&fs::read(&log).unwrap()), None);
}

#[test]
fn clocks_that_do_not_agree_cost_a_token_and_no_more() {
    // (how long a token is good, what is said of it)
    for (lifetime, expires_in) in [
        (Lifetime::Endless, Some(0)),
        (Lifetime::Endless, Some(u64::MAX)),
        (Lifetime::Requests(8), Some(1 << 40)),
        (Lifetime::Time(Duration::from_secs(1)), None),
    ] {
        let (Some(kitchen), Some(other)) = (Kitchen::new(), Kitchen::new()) else { return };
        let auth = TokenAuth { lifetime, expires_in, ..TokenAuth::default() };
        let registry = Registry::builder().auth(Auth::Token(auth)).start();
        put_app(&registry, 3, 1000);
        kitchen.galley(&["pull", "-q", &app(&registry)]);
        log_in(&kitchen, &registry);
        let name = format!("{}/team/new:1", registry.host());
        kitchen.galley(&["tag", &app(&registry), &name]);
        kitchen.galley(&["push", &name]);
        other.galley(&["pull", "-q", &name]);
    }
}
