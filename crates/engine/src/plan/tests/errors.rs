//! Every error of the planner, word by word.

use super::{FakeSource, options, shown};
use crate::plan::{BuildContext, PlanOptions, plan};
use crate::ports::LayoutReference;

fn error_of(options: &PlanOptions) -> String {
    let sources = FakeSource::with(&["busybox", "golang:1.22"]);
    shown(&plan(options, &sources).expect_err("this is wrong"))
}

#[track_caller]
fn check(dockerfile: &str, wanted: &str) {
    assert_eq!(error_of(&options(dockerfile)), wanted, "\n{dockerfile}");
}

#[test]
fn what_the_parser_says_is_passed_on() {
    check(
        "FROM busybox\nRUM true\n",
        "unknown instruction `RUM` at Dockerfile:2:1\n  | not an instruction\n  = did you mean `RUN`?",
    );
    let mut bytes = b"FROM busybox\nENV A=".to_vec();
    bytes.push(0xff);
    assert_eq!(
        error_of(&options(bytes)),
        "the file is not UTF-8 text: byte 0xff at Dockerfile:2:7\n  | not UTF-8\n  = save the file as UTF-8"
    );
}

#[test]
fn bases() {
    check(
        "FROM golang:1.99\n",
        "image `golang:1.99` is nowhere to be found at Dockerfile:1:6\n  | this image\n  \
         = looked for docker.io/library/golang:1.99 (linux/amd64) in the local store; no --build-context was given; \
         no stage above has this name\n  \
         = pass --build-context golang:1.99=oci-layout://DIRECTORY, or make it with `galley build -t golang:1.99`\n  \
         = the local store has docker.io/library/golang:1.22",
    );
    check(
        "FROM nothing\nFROM busybox AS nothing\nFROM scratch\nCOPY --from=0 / /\n",
        "image `nothing` is nowhere to be found at Dockerfile:1:6\n  | this image\n  \
         = looked for docker.io/library/nothing:latest (linux/amd64) in the local store; no --build-context was given; \
         no stage above has this name\n  \
         = pass --build-context nothing=oci-layout://DIRECTORY, or make it with `galley build -t nothing`\n  \
         = the stage `nothing` of line 2 does not count here: it is not above this FROM",
    );
    check(
        "FROM busybox AS builder\nFROM bilder\n",
        "image `bilder` is nowhere to be found at Dockerfile:2:6\n  | this image\n  \
         = looked for docker.io/library/bilder:latest (linux/amd64) in the local store; no --build-context was given; \
         no stage above has this name\n  \
         = pass --build-context bilder=oci-layout://DIRECTORY, or make it with `galley build -t bilder`\n  \
         = did you mean the stage `builder`?",
    );
    check(
        "ARG BASE\nFROM $BASE\n",
        "the base image `$BASE` is empty after expansion at Dockerfile:2:6\n  \
         = only ARGs before the first FROM are visible here; give the ARG a default, or pass --build-arg",
    );
    check(
        "FROM Busybox\n",
        "`Busybox` is neither a stage above nor the name of an image at Dockerfile:1:6\n  \
         because image name \"Busybox\" is invalid: repository \"Busybox\" must be lower case",
    );
}

#[test]
fn contexts_that_hold_nothing() {
    let mut with = options("FROM base\n");
    let layout = LayoutReference { path: "/layout".into(), tag: Some("v1".to_owned()), digest: None };
    with.build_contexts.push(("base".to_owned(), BuildContext::Layout(layout)));
    assert_eq!(
        error_of(&with),
        "--build-context base=oci-layout:///layout:v1 holds no such image for linux/amd64 at Dockerfile:1:6\n  \
         = /layout/index.json lists what it holds"
    );
    with.build_contexts.push(("base:latest".to_owned(), BuildContext::Image("Bad:x:y".to_owned())));
    let error = error_of(&with);
    assert!(
        error.starts_with(
            "--build-context base=docker-image://Bad:x:y does not name an image at Dockerfile:1:6"
        )
    );
}

#[test]
fn stages() {
    check(
        "FROM busybox AS a\nCOPY --from=a / /\n",
        "stage `a` needs itself at Dockerfile:2:13\n  | circular reference\n  = copy from a stage above this one",
    );
    check(
        "FROM busybox AS a\nCOPY --from=b / /\nFROM a AS b\n",
        "stage `b` is needed before it is defined at Dockerfile:2:13\n  | defined at line 3\n  \
         = move that stage above this one: a stage can only use stages above it",
    );
    check(
        "FROM busybox\nRUN --mount=from=1,target=/x true\nFROM busybox\nCOPY --from=0 / /\n",
        "stage `1` is needed before it is defined at Dockerfile:2:18\n  | defined at line 3\n  \
         = move that stage above this one: a stage can only use stages above it",
    );
    check(
        "FROM busybox\nCOPY --from=3 / /\n",
        "there is no stage number 3 at Dockerfile:2:13\n  = stages count from 0; the last is 0",
    );
    check(
        "FROM busybox\nCOPY --from=$X / /\n",
        "`COPY --from` does not support variables at Dockerfile:2:13\n  | not supported\n  \
         = give the image a name with `FROM image:$VERSION AS name`, and use that name",
    );
}

#[test]
fn targets() {
    let with = |dockerfile: &str, target: &str| {
        error_of(&PlanOptions { target: Some(target.to_owned()), ..options(dockerfile) })
    };
    let two = "FROM busybox AS builder\nFROM busybox AS tests\n";
    assert_eq!(
        with(two, "bilder"),
        "target stage `bilder` is not in Dockerfile\n  = did you mean `builder`?"
    );
    assert_eq!(
        with(two, "zzzzz"),
        "target stage `zzzzz` is not in Dockerfile\n  = the stages are builder, tests"
    );
    assert_eq!(
        with("FROM busybox\n", "7"),
        "target stage `7` is not in Dockerfile\n  = no stage has a name; numbers go from 0 to 0"
    );
}

#[test]
fn addresses() {
    let zeros = "0".repeat(40);
    for (instruction, column, wanted) in [
        ("ADD https://h:x/a /", 5, "this is no address: its port is no number"),
        (
            "ADD https://h/a.git?depth=1 /",
            5,
            "`depth` is nothing that an address of a git repository can say",
        ),
        ("ADD https://h/a.git#--upload-pack=x /", 5, "`--upload-pack=x` is no branch, tag or commit"),
        ("ADD --keep-git-dir=false https://h/a.git?keep-git-dir /", 26, "--keep-git-dir says otherwise"),
        ("ADD --checksum=sha256:0 https://h/a /", 16, "`sha256:0` is no checksum of a file"),
        ("ADD --checksum=xyz https://h/a.git /", 16, "`xyz` is no commit"),
        ("ADD --checksum=sha256:0 https://h/a https://h/b /", 16, "ADD --checksum is about one source"),
        (&format!("ADD --checksum=1 https://h/a.git#{zeros} /"), 16, "the commit 0000000"),
    ] {
        let found = error_of(&options(format!("FROM busybox\n{instruction}\n")));
        assert!(found.starts_with(wanted), "{instruction}: {found}");
        assert!(found.contains(&format!("at Dockerfile:2:{column}")), "{instruction}: {found}");
    }
}

#[test]
fn single_values() {
    check(
        "FROM busybox\nCOPY https://example.com/a /\n",
        "COPY cannot fetch `https://example.com/a` at Dockerfile:2:6\n  \
         = COPY takes files of the context, a stage or an image; ADD fetches",
    );
    check(
        "FROM busybox\nCOPY git@example.com:a/b.git /\n",
        "COPY cannot fetch `git@example.com:a/b.git` at Dockerfile:2:6\n  \
         = COPY takes files of the context, a stage or an image; ADD fetches",
    );
    check(
        "FROM busybox\nADD --checksum=sha256:0 a /\n",
        "ADD --checksum needs an http(s) or git source at Dockerfile:2:16\n  = remove the flag",
    );
    check(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/ true\n",
        "the mount's target `/` is the root of the file system at Dockerfile:2:13\n  \
         = mount to a directory below it",
    );
    check(
        "FROM busybox\nRUN --mount=type=secret,id=key,required true\n",
        "the secret `key` is required and was not given at Dockerfile:2:13\n  \
         = pass --secret id=key,src=FILE or --secret id=key,env=NAME",
    );
    check(
        "FROM busybox\nVOLUME $NOTHING\n",
        "VOLUME `$NOTHING` is empty after expansion at Dockerfile:2:8\n  = write the path of a directory",
    );
    check(
        "FROM --platform=pdp11 busybox\n",
        "`pdp11` is not a platform at Dockerfile:1:17\n  \
         because platform \"pdp11\" is neither a known operating system nor a known architecture: write os/architecture\n  \
         = write linux/amd64",
    );
    check(
        "FROM busybox\nENV A=${B:?needed}\n",
        "B: needed at Dockerfile:2:7\n  | required here\n  \
         = give the variable a value above with ENV or ARG, or with --build-arg for an ARG",
    );
}

#[test]
fn ignore_files() {
    let mut with = options("FROM busybox\n");
    with.context.ignore = Some(("dir/.dockerignore".to_owned(), b"ok\n!\n".to_vec()));
    assert_eq!(
        error_of(&with),
        "`!` is not a valid pattern: `!` needs a pattern behind it at dir/.dockerignore:2:1\n  | here"
    );
}

#[test]
fn source_date_epoch() {
    let mut with = options("FROM busybox\n");
    with.build_args.push(("SOURCE_DATE_EPOCH".to_owned(), "yesterday".to_owned()));
    assert_eq!(
        error_of(&with),
        "SOURCE_DATE_EPOCH is `yesterday`, not a number of seconds since 1970\n  \
         = give the number, `$(git log -1 --pretty=%ct)`, or the name of a context or of a stage that only fetches"
    );
}

#[test]
fn triggers_of_images_are_drawn_on_their_own_text() {
    let mut config = galley_oci::ImageConfig::default();
    config.config.on_build = vec!["RUN --mount=type=ssh,required true".to_owned()];
    let sources = FakeSource::default().image("base", config);
    let error = plan(&options("FROM base\n"), &sources).expect_err("no agent was given");
    assert_eq!(
        shown(&error),
        "the SSH agent `default` is required and was not given at ONBUILD of docker.io/library/base:latest:1:13\n  \
         = pass --ssh default, with ssh-agent running, or --ssh default=KEYFILE"
    );
}

#[test]
fn rights_have_to_be_given() {
    check(
        "FROM busybox\nRUN --network=host true\n",
        "RUN --network=host is not allowed at Dockerfile:2:5\n  | asks for the machine's own network\n  \
         = pass --allow network.host if you trust this Dockerfile with it",
    );
    check(
        "FROM busybox\nRUN --security=insecure true\n",
        "RUN --security=insecure is not allowed at Dockerfile:2:5\n  | asks for all privileges\n  \
         = pass --allow security.insecure if you trust this Dockerfile with this machine",
    );
    check(
        "FROM busybox\nRUN --device=gpu true\n",
        "the flag `--device` of RUN is experimental and not supported at Dockerfile:2:5\n  | not supported\n  \
         = it exists only in Docker's labs front end (`docker/dockerfile:1-labs`)",
    );
}

#[test]
fn mounts_that_ask_for_what_is_not_there() {
    check(
        "FROM busybox\nRUN --mount=type=ssh,required,id=git true\n",
        "the SSH agent `git` is required and was not given at Dockerfile:2:13\n  \
         = pass --ssh git, with ssh-agent running, or --ssh git=KEYFILE",
    );
    check(
        "FROM busybox\nRUN --mount=type=cache,target=/c,source=/x true\n",
        "a cache mount has a `source` and no `from`: there is nothing that it could start with at Dockerfile:2:13\n  \
         = name the stage or image with from=",
    );
}
