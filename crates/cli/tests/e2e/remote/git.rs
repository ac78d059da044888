//! Git repositories.

use std::{io::Read as _, net::TcpListener, os::unix::net::UnixListener, process::Stdio, time::Duration};

use galley_testkit::install_script;

use super::*;

#[test]
fn a_commit_is_fetched_once() {
    let web = Web::start();
    let Some(kitchen) = kitchen(&web) else { return };
    let [main, side] = repository(&kitchen);
    serve(&kitchen, &web, None);
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /x\n", web.url("/git/plain.git")));
    let files = kitchen.files(&["."]);
    assert_eq!((files["x/file"].mode, files["x/file"].owner), (0o644, (0, 0)));
    assert!(files.contains_key("x/two") && !files.keys().any(|path| path.contains(".git")));
    let fetched = web.asked().len();
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 0);
    assert!(web.asked().len() < fetched, "only the reference is asked for");
    // A commit needs nobody to be asked, and a reference that leads to it is the same.
    kitchen.dockerfile(&format!("FROM scratch\nADD {}#{main} /x\n", web.url("/git/plain.git")));
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 0);
    assert_eq!(statuses(&web), [0; 0]);
    let add = format!("FROM scratch\nADD --checksum={side} {}#main /x\n", web.url("/git/plain.git"));
    let (code, said) = kitchen.dockerfile(&add).build_fails(&["."]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Dockerfile:2:") && said.contains(&main) && said.contains(&side), "{said}");
}

#[test]
fn a_token_does_not_follow_a_redirect() {
    let (web, other) = (Web::start(), Web::start());
    let Some(kitchen) = kitchen(&web) else { return };
    repository(&kitchen);
    serve(&kitchen, &other, None);
    let target = "/git/plain.git/info/refs?service=git-upload-pack";
    web.put(
        "/moved/plain.git/info/refs",
        Page { status: 302, ..Page::new("") }.with("Location", &other.url(target)),
    );
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /g\n", web.url("/moved/plain.git")));
    let mut command = kitchen.build_command(&["--secret=id=GIT_AUTH_TOKEN,env=TOKEN", "."]);
    let output = command.env("TOKEN", "s3cret-t0ken").output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("write the address that it has now"), "{said}");
    assert_eq!(statuses(&other), [0; 0]);
    // There is nothing to lose without one.
    kitchen.build(&["-t", "x", "."]);
    assert!(!other.asked().is_empty());
}

#[test]
fn the_path_of_the_store_is_no_address() {
    let web = Web::start();
    let Some(kitchen) = kitchen(&web) else { return };
    repository(&kitchen);
    serve(&kitchen, &web, None);
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /x\n", web.url("/git/plain.git?keep-git-dir")));
    let root = kitchen.path("100%41 #?&");
    let output = kitchen.build_command(&["."]).arg("--root").arg(root).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// Every program that git starts, with its words, is written down.
#[test]
fn a_password_of_an_address_is_no_argument() {
    let web = Web::start();
    let Some(kitchen) = kitchen(&web) else { return };
    repository(&kitchen);
    serve(&kitchen, &web, Some("Basic bWU6cGE1NSB3b3Jk"));
    let (trace, programs) = (kitchen.path("trace"), kitchen.path("programs"));
    let git = kitchen.env.run("sh", &["-c", "command -v git"]);
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> {0}\nGIT_TRACE={0} exec {1} \"$@\"\n",
        trace.display(),
        git.trim()
    );
    program(&programs.join("git"), &text);
    let address = web.url("/git/plain.git").replace("http://", "http://me:pa55%20word@");
    kitchen.dockerfile(&format!("FROM scratch\nADD {address} /a\nADD --keep-git-dir {address} /b\n"));
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let output = kitchen.build_command(&["-t", "x", "."]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", super::text(&output));
    let traced = fs::read_to_string(trace).unwrap();
    assert!(traced.contains("remote-http") && traced.contains(&web.url("/git/plain.git")), "{traced}");
    for secret in ["pa55", "bWU6cGE1NSB3b3Jk"] {
        assert!(!traced.contains(secret), "{traced}");
    }
}

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    install_script(text, path);
}

#[test]
fn settings_of_the_person_do_not_count() {
    let web = Web::start();
    let Some(kitchen) = kitchen(&web) else { return };
    repository(&kitchen);
    serve(&kitchen, &web, None);
    let home = kitchen.path("home");
    program(&home.join("hooks/post-checkout"), &format!("#!/bin/sh\ntouch {}/ran\n", home.display()));
    let settings = format!(
        "[core]\n\thooksPath = {}/hooks\n[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://127.0.0.1\n",
        home.display()
    );
    fs::write(home.join(".gitconfig"), settings).unwrap();
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /x\n", web.url("/git/plain.git?keep-git-dir")));
    let mut command = kitchen.build_command(&["-t", "x", "."]);
    command.env("GIT_DIR", "/nowhere").env("GIT_TRACE", home.join("trace"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(!home.join("ran").exists() && !home.join("trace").exists());
}

#[test]
fn without_git_it_is_said_what_to_install() {
    let web = Web::start();
    let Some(kitchen) = kitchen(&web) else { return };
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /x\n", web.url("/git/plain.git")));
    // An ordinary user needs programs to get into the user namespace, and git is asked before that.
    let output = kitchen.build_command(&["."]).env("PATH", "/nowhere").output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("git is not installed") && said.contains("apt install git"), "{said}");
}

#[test]
fn ssh_is_asked_without_settings() {
    let Some(kitchen) = Kitchen::new() else { return };
    repository(&kitchen);
    let (bin, log) = (kitchen.path("bin"), kitchen.path("ssh.log"));
    // The last argument is what is run there.
    let fake = format!(
        "#!/bin/sh\necho \"$@ $SSH_AUTH_SOCK\" >> {}\nfor last; do :; done\ncd {}\neval \"exec $last\"\n",
        log.display(),
        kitchen.env.work().join("repositories").display()
    );
    program(&bin.join("ssh"), &fake);
    kitchen.dockerfile("FROM scratch\nADD git@example.com:plain.git#side /x\n");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let agent = kitchen.path("the-agent");
    let _agent = UnixListener::bind(&agent).unwrap();
    let agent = agent.display().to_string();
    // What a Dockerfile names is asked with the agent only when that was lent.
    for (lent, end) in [(&["."][..], ""), (&["--no-cache", "--ssh=default", "."], agent.as_str())] {
        let mut command = kitchen.build_command(lent);
        let output = command.env("PATH", &path).env("SSH_AUTH_SOCK", &agent).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let said = fs::read_to_string(&log).unwrap();
        assert!(said.lines().count() > 0, "{said}");
        for line in said.lines() {
            assert!(line.starts_with("-F /dev/null -o BatchMode=yes"), "{line}");
            assert!(line.contains(" -o IdentityFile=none "), "{line}");
            assert!(line.contains("git@example.com") && line.ends_with(&format!("' {end}")), "{line}");
        }
        fs::remove_file(&log).unwrap();
    }
    // Keys of files are lent by galley itself.
    let key = include_bytes!("../../../../engine/src/ssh/tests/ed25519");
    fs::write(kitchen.path("key"), key).unwrap();
    let ssh = format!("--ssh=default={}", kitchen.path("key").display());
    let mut command = kitchen.build_command(&[&ssh, "-t", "x", "."]);
    let output = command.env("PATH", path).env("SSH_AUTH_SOCK", &agent).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = fs::read_to_string(log).unwrap();
    assert!(said.lines().count() > 0 && said.lines().all(|line| line.ends_with("/agent")), "{said}");
    assert!(!said.contains(&agent), "{said}");
}

#[test]
fn a_build_that_is_stopped_stops_its_git() {
    let Some(kitchen) = Kitchen::new() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for scheme in ["git", "http"] {
        kitchen.dockerfile(&format!("FROM scratch\nADD {scheme}://{address}/x.git /x\n"));
        let mut command = kitchen.build_command(&["."]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut connection, _) = silent.accept().unwrap();
        kitchen.env.run("kill", &["-INT", &child.id().to_string()]);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", text(&output));
        // Nobody holds the other end any more: reading ends, and not by this timeout.
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let ended = connection.read_to_end(&mut Vec::new());
        let timed_out = ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "{ended:?}");
    }
}
