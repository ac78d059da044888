//! What steps say, where no golden file of BuildKit can show it: parents, mounts, variables, equal steps.

use super::{FakeSource, names, options, planned, runs};
use crate::plan::{
    BuildContext, ContextId, ContextSource, CopyOp, Entitlement, MountKind, Network, NoCache, Operation,
    Plan, PlanOptions, Sharing, Source, StepId, plan,
};

fn copies(plan: &Plan) -> Vec<&CopyOp> {
    let operations = plan.steps.iter().map(|step| &step.operation);
    operations
        .filter_map(|operation| match operation {
            Operation::Copy(copy) => Some(copy),
            _ => None,
        })
        .collect()
}

fn plan_with(options: &PlanOptions) -> Plan {
    plan(options, &FakeSource::with(&["busybox", "golang:1.22"])).unwrap()
}

#[test]
fn only_what_the_target_needs_is_planned() {
    let sources = FakeSource::with(&["busybox"]);
    let text = "FROM missing AS unused\nRUN true\nFROM busybox AS used\nRUN one\nFROM scratch\nCOPY --from=used / /\n";
    let plan = plan(&options(text), &sources).unwrap();
    assert_eq!(names(&plan).len(), 3);
    assert_eq!(*sources.asked.lock().unwrap(), ["docker.io/library/busybox:latest"]);
}

#[test]
fn equal_steps_are_one_step() {
    let plan = planned(
        "FROM busybox AS one\nENV A=1\nRUN make\nFROM busybox AS two\nENV A=1\nRUN make\nRUN more\n\
         FROM scratch\nCOPY --from=one /a /\nCOPY --from=two /b /\n",
    );
    assert_eq!(
        names(&plan),
        [
            "[one 1/2] FROM docker.io/library/busybox:latest",
            "[one 2/2] RUN make",
            "[two 3/3] RUN more",
            "[stage-2 1/2] COPY --from=one /a /",
            "[stage-2 2/2] COPY --from=two /b /",
        ]
    );
    assert_eq!(plan.steps[2].parent, Some(StepId(1)));
    let different =
        planned("FROM busybox AS one\nENV A=1\nRUN make\nFROM busybox\nRUN make\nCOPY --from=one / /\n");
    assert_eq!(runs(&different).len(), 2, "the variables differ");
}

#[test]
fn steps_that_must_not_be_cached_are_steps_of_their_own() {
    let text = "FROM busybox AS one\nRUN make\nFROM busybox AS two\nRUN make\nCOPY --from=one /a /\n";
    let no_cache = NoCache::Stages(vec!["ONE".to_owned()]);
    let plan = plan_with(&PlanOptions { no_cache, ..options(text) });
    let marked: Vec<bool> = plan.steps.iter().map(|step| step.no_cache).collect();
    assert_eq!(marked, [false, true, false, false]);
    let all = plan_with(&PlanOptions { no_cache: NoCache::All, ..options(text) });
    assert_eq!(all.steps.iter().filter(|step| step.no_cache).count(), 2, "base images are what they are");
}

#[test]
fn every_step_comes_after_what_it_needs() {
    let plan = planned(
        "FROM busybox AS a\nRUN a\nFROM busybox AS b\nCOPY --from=a / /a\nFROM b AS c\n\
         RUN --mount=from=a,target=/m --mount=type=cache,from=b,target=/c c\nFROM scratch\nCOPY --from=c / /\n",
    );
    for step in &plan.steps {
        let mut needs: Vec<StepId> = step.parent.into_iter().collect();
        match &step.operation {
            Operation::Copy(CopyOp { from: Source::Step(from), .. }) => needs.push(*from),
            Operation::Run(run) => needs.extend(run.mounts.iter().filter_map(|mount| match &mount.kind {
                MountKind::Bind { from: Source::Step(from), .. }
                | MountKind::Cache { from: Some((Source::Step(from), _)), .. } => Some(*from),
                _ => None,
            })),
            _ => {}
        }
        assert!(needs.iter().all(|need| *need < step.id), "{}", step.name);
    }
    assert_eq!(plan.targets[0].step, Some(StepId(plan.steps.len() - 1)));
}

#[test]
fn variables_of_a_step_are_in_the_order_of_their_last_assignment() {
    let mut with =
        options("FROM busybox\nARG A=arg\nENV B=env C=$A\nARG B=again\nRUN one\nENV A=env\nRUN two\n");
    with.build_args =
        vec![("http_proxy".to_owned(), "p".to_owned()), ("HTTP_PROXY".to_owned(), "q".to_owned())];
    let plan = plan_with(&with);
    let variables = |index: usize| -> Vec<String> {
        let list = runs(&plan)[index].environment.iter().filter(|(name, _)| &**name != "PATH");
        list.map(|(name, value)| format!("{name}={value}")).collect()
    };
    assert_eq!(variables(0), ["A=arg", "C=arg", "B=again"]);
    assert_eq!(variables(1), ["C=arg", "B=again", "A=env"]);
    assert_eq!(plan.targets[0].config.config.env[1..], ["B=env", "C=arg", "A=env"]);
    let proxies = [("HTTP_PROXY".to_owned(), "p".to_owned()), ("http_proxy".to_owned(), "p".to_owned())];
    assert_eq!(runs(&plan)[0].proxies, proxies);
    assert!(plan.warnings.is_empty());
}

#[test]
fn mounts_are_typed_and_expanded() {
    let plan = planned(
        "FROM golang:1.22 AS tools\nFROM busybox\nENV D=/deep W=wide\nWORKDIR /work\n\
         RUN --mount=type=cache,target=go/../$W,sharing=locked,mode=0700,uid=5 \
         --mount=from=tools,source=../usr/$W,target=$D,rw --mount=type=tmpfs,target=/t,size=1k \
         --mount=type=secret,id=key,env=KEY --mount=type=secret,id=a/b,uid=7 true\n",
    );
    let mounts = &runs(&plan)[0].mounts;
    let targets: Vec<&str> = mounts.iter().map(|mount| std::str::from_utf8(&mount.target).unwrap()).collect();
    assert_eq!(targets, ["/work/wide", "/deep", "/t", "", "/run/secrets/b"]);
    let cache = MountKind::Cache {
        id: "wide".to_owned(),
        sharing: Sharing::Locked,
        from: None,
        read_only: false,
        mode: Some(0o700),
        uid: Some(5),
        gid: None,
    };
    assert_eq!(mounts[0].kind, cache);
    let tools = Source::Step(StepId(0));
    assert_eq!(
        mounts[1].kind,
        MountKind::Bind { from: tools, source: b"/usr/wide".to_vec(), writable: true }
    );
    assert_eq!(mounts[2].kind, MountKind::Tmpfs { size: Some(1024), read_only: false });
    let secret = |id: &str, environment: Option<&str>, uid| MountKind::Secret {
        id: id.to_owned(),
        file: environment.is_none(),
        environment: environment.map(ToOwned::to_owned),
        required: false,
        mode: 0o400,
        uid,
        gid: 0,
    };
    assert_eq!(mounts[3].kind, secret("key", Some("KEY"), 0));
    assert_eq!(mounts[4].kind, secret("a/b", None, 7));
}

#[test]
fn networks() {
    let text = "FROM busybox\nRUN one\nRUN --network=none two\nRUN --network=host three\nRUN --network=default four\n";
    let mut with = options(text);
    with.allow = vec![Entitlement::NetworkHost];
    with.network = Network::None;
    let plan = plan_with(&with);
    let networks: Vec<Network> = runs(&plan).iter().map(|run| run.network).collect();
    assert_eq!(networks, [Network::None, Network::None, Network::Host, Network::None]);
}

#[test]
fn scripts_and_host_names() {
    let mut with = options("FROM busybox\nRUN <<E\n#!/bin/sh\ntrue\nE\n");
    with.build_args = vec![("BUILDKIT_SANDBOX_HOSTNAME".to_owned(), "kitchen".to_owned())];
    let plan = plan_with(&with);
    let run = runs(&plan)[0];
    assert_eq!(run.arguments.last().unwrap(), b"/dev/pipes/E");
    assert_eq!((run.scripts[0].content.as_slice(), run.scripts[0].mode), (&b"#!/bin/sh\ntrue\n"[..], 0o755));
    assert_eq!(run.hostname, "kitchen");
}

#[test]
fn sources_stay_below_their_root() {
    let plan = planned(
        "FROM busybox\nWORKDIR /w\nCOPY ../../a /b/../c ./d*/ /abs ../up/\nADD --unpack=false x.tar .\nADD y.tar y/.\n",
    );
    let copies = copies(&plan);
    let sources: Vec<&[u8]> = copies[0].sources.iter().map(Vec::as_slice).collect();
    assert_eq!(sources, [&b"/a"[..], b"/c", b"/d*", b"/abs"]);
    let destinations: Vec<&[u8]> = copies.iter().map(|copy| copy.destination.as_slice()).collect();
    assert_eq!(destinations, [&b"/up/"[..], b"/w/", b"/w/y/"]);
    assert_eq!(copies.iter().map(|copy| copy.unpack).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn named_contexts_come_before_the_store() {
    let directory = ContextSource { name: "docs".to_owned(), path: "/docs".into(), ignore: None, kept: None };
    let mut with = options(
        "FROM docker.io/library/base:latest AS replaced\nRUN never\nFROM replaced\nCOPY --from=docs a /\n\
         RUN --mount=from=docs,target=/d true\nFROM docs AS copied\nCOPY --from=1 / /x\n",
    );
    with.build_contexts = vec![
        ("replaced".to_owned(), BuildContext::Image("busybox".to_owned())),
        ("docs".to_owned(), BuildContext::Directory(directory)),
    ];
    let plan = plan_with(&with);
    assert_eq!(plan.contexts.iter().map(|context| context.name.as_str()).collect::<Vec<_>>(), [".", "docs"]);
    assert_eq!(
        names(&plan),
        [
            "[replaced 1/1] FROM docker.io/library/busybox:latest",
            "[stage-1 1/2] COPY --from=docs a /",
            "[stage-1 2/2] RUN --mount=from=docs,target=/d true",
            "[copied 1/2] FROM docs AS copied",
            "[copied 2/2] COPY --from=1 / /x",
        ]
    );
    let docs = Source::Context(ContextId(1));
    assert_eq!(
        copies(&plan).iter().map(|copy| copy.from).collect::<Vec<_>>(),
        [docs, docs, Source::Step(StepId(2))]
    );
}

#[test]
fn contexts_from_elsewhere_are_fetched_when_they_are_used() {
    let mut with = options(
        "FROM busybox AS one\nCOPY --from=git a /\nRUN --mount=from=git,target=/m true\nFROM file\nCOPY --from=one / /x\n",
    );
    let contexts = ["git=https://h/x.git#v1:sub", "file=https://h/y.tar", "never=https://h/z"];
    with.build_contexts = contexts.iter().map(|text| crate::context::build_context(text).unwrap()).collect();
    let plan = plan_with(&with);
    assert_eq!(plan.contexts.len(), 1);
    assert_eq!(
        names(&plan),
        [
            "[one 1/3] FROM docker.io/library/busybox:latest",
            "fetch https://h/x.git#v1",
            "[one 2/3] COPY --from=git a /",
            "[one 3/3] RUN --mount=from=git,target=/m true",
            "fetch https://h/y.tar",
            "[stage-1 1/2] FROM file",
            "[stage-1 2/2] COPY --from=one / /x",
        ]
    );
    let from: Vec<_> = copies(&plan).iter().map(|copy| copy.from).collect();
    assert_eq!(from[..2], [Source::Step(StepId(1)), Source::Step(StepId(4))]);
}

#[test]
fn a_layout_names_a_base() {
    let layout = crate::ports::LayoutReference { path: "/l".into(), tag: Some("t".to_owned()), digest: None };
    let mut with = options("FROM golang:9\n");
    with.build_contexts.push(("golang:9".to_owned(), BuildContext::Layout(layout)));
    let sources = FakeSource::default().layout("oci-layout:///l:t", galley_oci::ImageConfig::default());
    let plan = plan(&with, &sources).unwrap();
    assert_eq!(names(&plan), ["[1/1] FROM docker.io/library/golang:9"]);
}

#[test]
fn platforms_given_by_hand_decide_the_config() {
    let mut with = options("FROM busybox\n");
    with.platforms = vec![galley_oci::Platform::new("linux", "amd64")];
    let config = plan_with(&with).targets.remove(0).config;
    assert_eq!((config.os.as_str(), config.architecture.as_str()), ("linux", "amd64"));
}

#[test]
fn the_epoch_comes_from_the_command_line_or_a_global_arg() {
    let text = "ARG SOURCE_DATE_EPOCH=5\nFROM busybox\n";
    assert_eq!(planned(text).epoch, Some(5));
    let mut with = options(text);
    with.build_args = vec![("SOURCE_DATE_EPOCH".to_owned(), "7".to_owned())];
    assert_eq!(plan_with(&with).epoch, Some(7));
    assert_eq!(planned("FROM busybox\n").epoch, None);
}

#[test]
fn add_fetches_in_steps_of_their_own() {
    let text = "FROM busybox\nARG V=2\nADD a http://h/b-$V.txt c.tar git@h:x/y.git#main:d /x/\n\
                ADD --unpack --checksum=$SUM http://h/b-$V.txt /\nADD http://h/b-2.txt /z\n";
    let sum = format!("sha256:{}", "a".repeat(64));
    let text = text.replace("$SUM", &sum);
    let plan = planned(&text);
    let fetches: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.operation, Operation::Fetch(_)))
        .map(|step| step.name.clone())
        .collect();
    // The file with a checksum is another than the one without; the third ADD takes what the first one fetched.
    assert_eq!(fetches, ["fetch http://h/b-2.txt", "fetch git@h:x/y.git#main", "fetch http://h/b-2.txt"]);
    let copies = copies(&plan);
    let sources: Vec<&[u8]> = copies[0].sources.iter().map(Vec::as_slice).collect();
    assert_eq!(sources, [&b"/a"[..], b"/c.tar"]);
    let fetched: Vec<_> =
        copies[0].fetched.iter().map(|one| (one.after, one.file.is_some(), one.unpack)).collect();
    assert_eq!(fetched, [(1, true, false), (2, false, false)]);
    assert!(copies[1].fetched[0].unpack);
    assert_eq!(copies[2].fetched[0].step, copies[0].fetched[0].step);
    let history = &plan.targets[0].history;
    assert_eq!(history[1].created_by, "ADD a http://h/b-2.txt c.tar git@h:x/y.git#main:d /x/ # buildkit");
}
