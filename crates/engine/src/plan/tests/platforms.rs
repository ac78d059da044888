//! `--platform` and `FROM --platform`: what is built for whom.

use galley_oci::ImageConfig;

use super::*;
use crate::plan::BuildContext;

const CROSS: &str = "\
FROM --platform=$BUILDPLATFORM golang AS build
ARG TARGETOS TARGETARCH TARGETVARIANT
RUN go build -o /app-$TARGETARCH$TARGETVARIANT
FROM busybox
COPY --from=build /app* /
RUN /app
";

fn sources() -> FakeSource {
    let both = ["linux/amd64", "linux/arm64", "linux/arm/v7"];
    let names = ["golang", "busybox"];
    let all = names.iter().flat_map(|name| both.iter().map(move |platform| (name, platform)));
    all.fold(FakeSource::default(), |sources, (name, platform)| sources.image_for(name, platform))
}

fn built_for(dockerfile: &str, platforms: &[&str]) -> Plan {
    let mut options = options(dockerfile);
    options.platforms = platforms.iter().map(|text| text.parse().unwrap()).collect();
    plan(&options, &sources()).unwrap()
}

fn platforms(plan: &Plan) -> Vec<String> {
    plan.targets.iter().map(|target| target.platform.to_string()).collect()
}

fn variable<'r>(run: &'r RunOp, name: &str) -> &'r str {
    let found = run.environment.iter().find(|(known, _)| **known == *name);
    found.map(|(_, value)| &**value).unwrap_or_default()
}

#[test]
fn a_cross_build_runs_its_compiler_here() {
    let plan = built_for(CROSS, &["linux/arm64"]);
    assert_eq!(platforms(&plan), ["linux/arm64"]);
    assert!(!plan.is_index);
    assert_eq!(plan.targets[0].config.architecture, "arm64");
    let [compile, check] = runs(&plan)[..] else { panic!("two runs") };
    assert_eq!(compile.platform, None);
    assert_eq!(variable(compile, "TARGETARCH"), "arm64");
    assert_eq!(check.platform, Some("linux/arm64".parse().unwrap()));
    assert_eq!(
        names(&plan),
        [
            "[linux/amd64 build 1/2] FROM docker.io/library/golang:latest",
            "[linux/amd64->arm64 build 2/2] RUN go build -o /app-arm64",
            "[linux/arm64 stage-1 1/3] FROM docker.io/library/busybox:latest",
            "[linux/arm64 stage-1 2/3] COPY --from=build /app* /",
            "[linux/arm64 stage-1 3/3] RUN /app",
        ]
    );
}

#[test]
fn several_platforms_share_what_is_equal() {
    let text = "FROM --platform=$BUILDPLATFORM golang AS build\nRUN fetch\nARG TARGETPLATFORM\nRUN compile\n\
                FROM scratch\nCOPY --from=build /a /\n";
    let plan = built_for(text, &["linux/arm", "linux/amd64", "linux/arm/v7"]);
    assert_eq!(platforms(&plan), ["linux/arm/v7", "linux/amd64"]);
    assert!(plan.is_index);
    let own: Vec<&str> = runs(&plan).iter().map(|run| variable(run, "TARGETPLATFORM")).collect();
    assert_eq!(own, ["", "linux/arm/v7", "linux/amd64"]);
    assert_eq!(plan.targets[0].config.variant.as_deref(), Some("v7"));
    // One base, one fetch, and two of the others.
    assert_eq!(plan.steps.len(), 1 + 1 + 2 + 2);
    assert_eq!(plan.steps[2].name, "[linux/amd64->arm/v7 build 3/3] RUN compile");
}

#[test]
fn platforms_of_this_machine_change_nothing() {
    let plan = built_for("FROM --platform=linux/x86_64 busybox\nRUN x\n", &["linux/amd64"]);
    assert_eq!(runs(&plan)[0].platform, None);
    assert_eq!(names(&plan)[1], "[2/2] RUN x");
    assert!(!plan.is_index);
}

#[test]
fn a_stage_on_a_stage_has_its_platform() {
    let text = "FROM --platform=linux/arm64 busybox AS a\nFROM --platform=linux/amd64 a\nRUN x\n";
    let plan = built_for(text, &[]);
    assert_eq!(runs(&plan)[0].platform, Some("linux/arm64".parse().unwrap()));
    assert_eq!(plan.targets[0].config.architecture, "arm64");
    assert_eq!(platforms(&plan), ["linux/arm64"]);
}

#[test]
fn an_empty_stage_is_for_the_target() {
    let plan = built_for("FROM --platform=$BUILDPLATFORM scratch\nRUN x\n", &["linux/arm64"]);
    assert_eq!(runs(&plan)[0].platform, Some("linux/arm64".parse().unwrap()));
    assert_eq!(plan.targets[0].config.architecture, "arm64");
}

#[test]
fn an_index_of_one_is_asked_for() {
    let mut with = options("FROM busybox\nRUN x\n");
    with.build_args = vec![("BUILDKIT_MULTI_PLATFORM".to_owned(), "1".to_owned())];
    let plan = plan(&with, &sources()).unwrap();
    assert!(plan.is_index && plan.warnings.is_empty());
    assert_eq!(names(&plan)[1], "[linux/amd64 2/2] RUN x");
    let refused = |value: &str, platforms: &[&str]| {
        with_argument(value, platforms).map(|plan| plan.is_index).unwrap_err().to_string()
    };
    assert_eq!(
        refused("0", &["linux/amd64", "linux/arm64"]),
        "BUILDKIT_MULTI_PLATFORM=0 does not go with several platforms"
    );
    assert_eq!(
        refused("maybe", &[]),
        "build argument BUILDKIT_MULTI_PLATFORM=maybe is neither true nor false"
    );
}

fn with_argument(value: &str, platforms: &[&str]) -> Result<Plan, Error> {
    let mut options = options("FROM busybox\n");
    options.build_args = vec![("BUILDKIT_MULTI_PLATFORM".to_owned(), value.to_owned())];
    options.platforms = platforms.iter().map(|text| text.parse().unwrap()).collect();
    plan(&options, &sources())
}

#[test]
fn a_context_for_the_platform_comes_first() {
    let mut with = options("FROM --platform=linux/arm64 golang\nRUN x\n");
    let image = |name: &str| BuildContext::Image(name.to_owned());
    with.build_contexts =
        vec![("golang::linux/arm64".to_owned(), image("busybox")), ("golang".to_owned(), image("nothing"))];
    let plan = plan(&with, &sources()).unwrap();
    assert_eq!(names(&plan)[0], "[1/2] FROM docker.io/library/busybox:latest");
}

#[test]
fn the_platform_in_the_config() {
    let config = |os: &str, architecture: &str, variant: &str| ImageConfig {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: Some(variant.to_owned()).filter(|variant| !variant.is_empty()),
        ..ImageConfig::default()
    };
    let made = |base: ImageConfig, platforms: &[&str]| {
        let mut with = options("FROM base\n");
        with.platforms = platforms.iter().map(|text| text.parse().unwrap()).collect();
        let plan = plan(&with, &FakeSource::default().image("base", base)).unwrap();
        let target = &plan.targets[0];
        format!("{} in {}", target.config.platform(), target.platform)
    };
    let arm = || config("linux", "arm64", "v8");
    assert_eq!(made(arm(), &[]), "linux/arm64 in linux/arm64");
    assert_eq!(made(arm(), &["linux/amd64"]), "linux/amd64 in linux/amd64");
    let newer = || config("linux", "amd64", "v2");
    assert_eq!(made(newer(), &["linux/amd64"]), "linux/amd64/v2 in linux/amd64");
    assert_eq!(made(newer(), &["linux/amd64/v3"]), "linux/amd64/v3 in linux/amd64/v3");
    assert_eq!(made(config("", "", ""), &[]), "linux/ in linux/amd64");
}

#[test]
fn an_empty_platform_is_said_so() {
    let error = plan(&options("ARG NOTHING\nFROM --platform=$NOTHING busybox\n"), &sources()).unwrap_err();
    assert_eq!(error.message, "the platform `$NOTHING` is empty after expansion");
}
