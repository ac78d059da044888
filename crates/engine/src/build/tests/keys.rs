//! What a key covers.

use super::*;

#[test]
fn a_secret_is_in_no_key_no_record_and_no_layer() {
    let mut bench = Bench::new();
    let text =
        "FROM scratch\nRUN --mount=type=secret,id=token --mount=type=secret,id=other,env=OTHER write /a 1";
    bench.secrets.insert("token".to_owned(), Secret::new(b"hunter2-token".to_vec()));
    bench.secrets.insert("other".to_owned(), Secret::new(b"hunter2-other".to_vec()));
    assert_eq!(bench.counts(text).0, 1);
    bench.secrets.insert("token".to_owned(), Secret::new(b"rotated".to_vec()));
    assert_eq!(bench.counts(text).0, 0);
    for (path, ..) in snapshot_of(&bench.dir.path().join("store")) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{}", path.display());
    }
}

#[test]
fn a_secret_reaches_the_process() {
    let mut bench = Bench::new();
    bench.secrets.insert("token".to_owned(), Secret::new(b"value".to_vec()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut runner = bench.runner(&bench.store());
    runner.look = Box::new({
        let seen = Arc::clone(&seen);
        move |request| {
            let env = request.secret_env.iter().map(|(name, value)| (name.clone(), value.expose().to_vec()));
            let targets = request.mounts.iter().map(|mount| String::from_utf8(mount.target.clone()).unwrap());
            *seen.lock().unwrap() = vec![(env.collect::<Vec<_>>(), targets.collect::<Vec<_>>())];
            assert!(!format!("{request:?}").contains("value"));
        }
    });
    let text = "FROM scratch\nRUN --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=token,target=/t --mount=type=secret,id=none write /a 1";
    bench.build_with(text, Mode::Execute, &runner, &Cancel::new()).unwrap();
    let expected = (vec![("TOKEN".to_owned(), b"value".to_vec())], vec!["/t".to_owned()]);
    assert_eq!(*seen.lock().unwrap(), [expected]);
}

#[test]
fn a_secret_that_fits_no_variable_is_refused_without_its_value() {
    let mut bench = Bench::new();
    bench.secrets.insert("token".to_owned(), Secret::new(b"hunter2\0".to_vec()));
    let error =
        bench.build("FROM scratch\nRUN --mount=type=secret,id=token,env=TOKEN write /a 1").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Input);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn an_agent_reaches_the_process_and_no_key() {
    use std::os::unix::fs::FileTypeExt;

    use crate::ports::MountSource;
    let mut bench = Bench::new();
    let text = "FROM scratch\nRUN --mount=type=ssh --mount=type=ssh,id=other,target=/a write /a 1";
    let looked = Arc::new(Mutex::new(Vec::new()));
    let run = |bench: &Bench| {
        let mut runner = bench.runner(&bench.store());
        let looked = Arc::clone(&looked);
        runner.look = Box::new(move |request| {
            let sockets = request.mounts.iter().map(|mount| {
                let MountSource::Host { path, .. } = &mount.source else { panic!("{mount:?}") };
                (
                    String::from_utf8(mount.target.clone()).unwrap(),
                    fs::metadata(path).unwrap().file_type().is_socket(),
                )
            });
            *looked.lock().unwrap() = sockets.collect();
            let variable = request.operation.environment.iter().find(|(name, _)| **name == *"SSH_AUTH_SOCK");
            assert_eq!(*variable.unwrap().1, *"/run/buildkit/ssh_agent.0");
        });
        bench.build_with(text, Mode::Execute, &runner, &Cancel::new()).unwrap();
    };
    run(&bench);
    assert_eq!(*looked.lock().unwrap(), [], "absent agents are no mistake");
    assert_eq!(bench.counts(text).0, 0);
    bench.ssh.insert("default".to_owned(), SshAgent::Socket("/nowhere".into()));
    assert_eq!(bench.counts(text).0, 0, "an agent is in no key");
    bench.no_cache = NoCache::All;
    run(&bench);
    assert_eq!(*looked.lock().unwrap(), [("/run/buildkit/ssh_agent.0".to_owned(), true)]);
}

#[test]
fn a_bind_of_the_context_counts_with_what_it_shows() {
    let bench = Bench::new();
    bench.write("src/a", "one");
    bench.write("other", "one");
    let text = "FROM scratch\nRUN --mount=type=bind,source=src,target=/src write /a 1";
    assert_eq!(bench.counts(text).0, 1);
    bench.write("other", "two");
    assert_eq!(bench.counts(text).0, 0);
    bench.write("src/a", "two");
    assert_eq!(bench.counts(text).0, 1);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o710);
    fs::set_permissions(bench.context().join("src"), mode).unwrap();
    assert_eq!(bench.counts(text).0, 1, "the process sees the directory itself too");
}

#[test]
fn names_of_stages_and_places_do_not_count() {
    let bench = Bench::new();
    bench.build("FROM scratch AS one\nRUN write /a 1\nFROM scratch\nCOPY --from=one /a /a").unwrap();
    let other =
        "# comment\n\nFROM scratch AS two\nLABEL a=b\nRUN write /a 1\nFROM scratch\nCOPY --from=two /a /a";
    assert_eq!(bench.counts(other), (0, 0, 2));
}

#[test]
fn an_argument_counts_from_its_declaration_on() {
    let bench = Bench::new();
    bench.build("FROM scratch\nRUN write /a 1\nARG X=1\nRUN write /b 1").unwrap();
    assert_eq!(bench.counts("FROM scratch\nRUN write /a 1\nARG X=2\nRUN write /b 1"), (1, 0, 1));
}
