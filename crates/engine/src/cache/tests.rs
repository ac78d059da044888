//! Keys, pinned: a change here means that nobody's cache is found again.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use galley_oci::Digest;

use super::*;
use crate::plan::{ContextId, FetchedSource, InlineFile, Resource, Script, Sharing, Source, StepId, Ulimit};

fn parent() -> Digest {
    Digest::blake3(b"parent")
}

fn run_operation() -> RunOp {
    RunOp {
        arguments: vec![b"/bin/sh".to_vec(), b"-c".to_vec(), b"make".to_vec()],
        environment: Arc::new([("PATH".into(), "/bin".into())]),
        proxies: Vec::new(),
        working_directory: b"/src".to_vec(),
        user: "app".to_owned(),
        mounts: Vec::new(),
        scripts: vec![Script { path: b"/dev/pipes/EOF".to_vec(), content: b"x".to_vec(), mode: 0o755 }],
        network: Network::Default,
        hostname: "buildkitsandbox".to_owned(),
        platform: None,
        insecure: false,
        surroundings: Surroundings::default(),
    }
}

fn mounts() -> Vec<RunMount> {
    let kinds = [
        MountKind::Bind { from: Source::Context(ContextId(0)), source: b"src".to_vec(), writable: false },
        MountKind::Cache {
            id: "id".to_owned(),
            sharing: Sharing::Shared,
            from: None,
            read_only: false,
            mode: Some(0o700),
            uid: None,
            gid: None,
        },
        MountKind::Tmpfs { size: Some(7), read_only: false },
        MountKind::Secret {
            id: "token".to_owned(),
            file: true,
            environment: Some("TOKEN".to_owned()),
            required: true,
            mode: 0o400,
            uid: 0,
            gid: 0,
        },
    ];
    let target = |number: usize| format!("/m{number}").into_bytes();
    kinds.into_iter().enumerate().map(|(number, kind)| RunMount { target: target(number), kind }).collect()
}

fn copy_operation() -> CopyOp {
    CopyOp {
        from: Source::Step(StepId(0)),
        sources: vec![b"a".to_vec(), b"b*".to_vec()],
        fetched: Vec::new(),
        excludes: Vec::new(),
        inline: vec![InlineFile { name: b"f".to_vec(), content: b"text".to_vec() }],
        destination: b"/x/".to_vec(),
        chown: Some("app".to_owned()),
        chmod: Some(Chmod { text: "644".to_owned(), mode: ModeSpec::Octal(0o644) }),
        unpack: false,
        link: false,
    }
}

#[test]
fn golden() {
    let with_mounts = RunOp { mounts: mounts(), ..run_operation() };
    let selections = CopyInput::Selections(vec![Digest::blake3(b"one"), Digest::blake3(b"two")]);
    let workdir_operation = WorkdirOp { path: b"/w".to_vec(), user: "app".to_owned() };
    let keys = [
        run(&parent(), &run_operation(), &[]),
        run(&parent(), &with_mounts, &[Digest::blake3(b"src")]),
        copy(&parent(), &copy_operation(), &selections, &[]),
        copy(&parent(), &copy_operation(), &CopyInput::Snapshot(Digest::blake3(b"stage")), &[]),
        copy(&parent(), &copy_operation(), &CopyInput::Nothing, &[]),
        workdir(&parent(), &workdir_operation),
    ];
    assert_eq!(keys.map(|key| key.hex()), GOLDEN);
}

const GOLDEN: [&str; 6] = [
    "e55db8a4d0b6bbc0a56d05c3654595f075a95e851051d93cbc83154e05e6b38c",
    "a429dcf0fc5e5c2805a835b95078c6c46dd41ffabecd54a19b0c1ca81f1ae4d2",
    "3d696132d2c209b06b956b4eb0e1c6db116446c61ed5ebb611a3bf010e6d4e91",
    "79c560cdec73fd9e21024e0e1a87bbdcc5ada7cce64a292c1f4bc7a00f64b81a",
    "bebf3f4065d1ed33ece80e043692a54f8507973ac85c54b882ba07b8da1f8872",
    "1453e58c82b42a910b6d19c1be48db26be471a580824d20c7f4f427ff9bd9cf2",
];

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn nofile(limit: u64) -> Ulimit {
    Ulimit { resource: Resource::Nofile, soft: limit, hard: limit }
}

#[test]
fn every_part_of_a_run_counts() {
    let base = run(&parent(), &run_operation(), &[]);
    let change = |change: &dyn Fn(&mut RunOp)| {
        let mut operation = run_operation();
        change(&mut operation);
        run(&parent(), &operation, &[])
    };
    let changed = [
        change(&|operation| operation.arguments[2].push(b'x')),
        change(&|operation| operation.environment = Arc::new([("PATH".into(), "/binx".into())])),
        change(&|operation| operation.working_directory.push(b'x')),
        change(&|operation| operation.user.clear()),
        change(&|operation| operation.network = Network::None),
        change(&|operation| operation.hostname.clear()),
        change(&|operation| operation.scripts[0].mode = 0o644),
        change(&|operation| operation.scripts[0].content.clear()),
        change(&|operation| operation.mounts = mounts()),
        change(&|operation| operation.platform = Some(galley_oci::Platform::new("linux", "arm64"))),
        change(&|operation| operation.platform = Some(galley_oci::Platform::new("linux", "arm"))),
        change(&|operation| operation.insecure = true),
        change(&|operation| operation.surroundings.hosts = vec![("h".to_owned(), LOCALHOST)]),
        change(&|operation| operation.surroundings.shm_size = Some(1)),
        change(&|operation| operation.surroundings.ulimits = vec![nofile(1)]),
        change(&|operation| operation.surroundings.ulimits = vec![nofile(2)]),
        run(&Digest::blake3(b"other"), &run_operation(), &[]),
        run(&parent(), &run_operation(), &[parent()]),
    ];
    let mut all = changed.to_vec();
    all.push(base);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), changed.len() + 1);
}

#[test]
fn what_must_not_count_does_not() {
    let mut base = RunOp { mounts: mounts(), ..run_operation() };
    let mut other = base.clone();
    other.proxies.push(("HTTP_PROXY".to_owned(), "http://proxy".to_owned()));
    base.surroundings.hosts = vec![("h".to_owned(), LOCALHOST)];
    other.surroundings.hosts = vec![("h".to_owned(), IpAddr::V4(Ipv4Addr::BROADCAST))];
    if let MountKind::Cache { id, sharing, .. } = &mut other.mounts[1].kind {
        *id = "another".to_owned();
        *sharing = Sharing::Locked;
    }
    assert_eq!(run(&parent(), &base, &[]), run(&parent(), &other, &[]));
    // Where the files come from is known by what they are.
    let moved = CopyOp { from: Source::Context(ContextId(3)), sources: Vec::new(), ..copy_operation() };
    let input = CopyInput::Selections(Vec::new());
    assert_eq!(copy(&parent(), &moved, &input, &[]), copy(&parent(), &copy_operation(), &input, &[]));
}

#[test]
fn what_is_excluded_counts_once() {
    let excluding = |patterns: &[&str]| {
        let excludes = patterns.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        CopyOp { excludes, ..copy_operation() }
    };
    let stage = CopyInput::Snapshot(Digest::blake3(b"stage"));
    let patterns: [&[&str]; 5] = [&[], &["a"], &["b"], &["a", "b"], &["b", "a"]];
    let mut keys = patterns.map(|patterns| copy(&parent(), &excluding(patterns), &stage, &[])).to_vec();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), patterns.len());
    // A selection has only what was left.
    let selections = CopyInput::Selections(vec![Digest::blake3(b"one")]);
    let key = |operation: &CopyOp| copy(&parent(), operation, &selections, &[]);
    assert_eq!(key(&excluding(&["a"])), key(&copy_operation()));
}

#[test]
fn what_was_fetched_counts_with_its_place() {
    let key = |after: usize, file: Option<&[u8]>, unpack: bool, excludes: &[&str], snapshot: &[u8]| {
        let fetched = FetchedSource { step: StepId(7), after, file: file.map(<[u8]>::to_vec), unpack };
        let excludes = excludes.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        let operation = CopyOp { fetched: vec![fetched], excludes, ..copy_operation() };
        let selections = CopyInput::Selections(vec![Digest::blake3(b"one")]);
        copy(&parent(), &operation, &selections, &[Digest::blake3(snapshot)])
    };
    let mut keys = vec![
        key(0, None, false, &[], b"a"),
        key(1, None, false, &[], b"a"),
        key(0, Some(b"f"), false, &[], b"a"),
        key(0, Some(b"f"), true, &[], b"a"),
        key(0, Some(b"f"), true, &["x"], b"a"),
        key(0, None, false, &[], b"b"),
    ];
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}
