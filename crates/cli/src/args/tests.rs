use std::ffi::OsString;

use super::*;

fn named(as_docker: bool) -> Environment {
    let mut environment = Environment::of(&[]);
    environment.as_docker = as_docker;
    environment
}

fn parsed(line: &str) -> Result<Arguments, Failure> {
    let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    let environment = named(line.starts_with("docker"));
    parse(&environment, &arguments)
}

fn said(line: &str) -> String {
    match parsed(line) {
        Ok(_) => "accepted".to_owned(),
        Err(Failure::Error(error)) => crate::message::draw(&error, &annotate_snippets::Renderer::plain()),
        Err(Failure::Arguments(error)) => error.render().to_string(),
        Err(other) => format!("{other:?}"),
    }
}

#[test]
fn the_parser_is_consistent() {
    for as_docker in [false, true] {
        parser(&named(as_docker)).debug_assert();
        accept_switch_values(parser(&named(as_docker))).debug_assert();
    }
}

#[test]
fn the_quick_parsers_are_parts_of_the_whole_one() {
    let mut whole = parser(&named(false));
    whole.build();
    let seen = |command: &clap::Command| {
        // Help is the whole parser's in any case: its text and its order do not matter.
        let arguments = command.get_arguments().filter(|argument| argument.get_id() != "help");
        let mut arguments: Vec<_> =
            arguments.map(|it| format!("{:?}", it.clone().display_order(0))).collect();
        arguments.sort();
        arguments
    };
    let names: Vec<_> = whole.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut quick = 0;
    for name in names {
        let Some(mut alone) = quick_parser(&name) else { continue };
        alone.build();
        quick += 1;
        assert_eq!(seen(&alone), seen(&whole));
        let (alone, whole) = (alone.find_subcommand(&name).unwrap(), whole.find_subcommand(&name).unwrap());
        assert_eq!(seen(alone), seen(whole), "{name}");
        assert_eq!(alone.get_subcommands().count(), whole.get_subcommands().count(), "{name}");
    }
    assert_eq!(quick, 15);
}

#[test]
fn the_documents_commands_are_accepted_as_typed() {
    let lines = [
        "docker build -t my-service .",
        "docker build -t cnych/docker-multi-stage-demo:latest .",
        "docker run --rm -p 8080:8080 cnych/docker-multi-stage-demo:latest",
        "docker images site --format {{.Repository}}:{{.Tag}}",
        "docker run -p 4242:4242 site:distroless",
        "docker create --name temp site:distroless",
        "docker export temp",
        "docker rm temp",
        "docker images",
        "docker buildx build --load -t x .",
        "docker buildx --builder default build .",
        "docker buildx build --cache-from user/app:c --cache-from type=local,src=x --cache-to type=inline -t x .",
        "docker image build -t x .",
        "docker builder build .",
        "docker container run -it --rm x sh -c ls",
        "docker image inspect -f {{.Id}} x",
        "docker container ls -a",
        "docker image rm x",
        "galley build --no-cache=false --rm=true --pull=false --provenance=false --sbom=false .",
        "galley build --platform local -o out --secret id=a,env=A --jobs 4 .",
    ];
    for line in lines {
        assert_eq!(said(line), "accepted", "{line}");
    }
}

#[test]
fn what_comes_after_the_image_belongs_to_the_command() {
    let Commands::Run(run) = parsed("galley run --rm -it alpine ls -la --rm -- -p x").unwrap().command else {
        panic!("no run");
    };
    let words = &run.container().image_and_command;
    assert_eq!(words, &["alpine", "ls", "-la", "--rm", "--", "-p", "x"].map(OsString::from));
}

#[test]
fn dockers_switches_take_values() {
    let build = |line: &str| match parsed(line).unwrap().command {
        Commands::Build(build) => build.no_cache,
        _ => panic!("no build"),
    };
    assert!(build("galley build --no-cache ."));
    assert!(build("galley build --no-cache=1 ."));
    assert!(!build("galley build --no-cache=false ."));
    assert!(!build("galley build ."));
}

#[test]
fn empty_values_are_none() {
    // A script's variable that is not set.
    let flags = "file output cache-from cache-to annotation iidfile metadata-file secret build-context ssh platform \
        target network allow add-host no-cache-filter call build-arg label attest builder cgroup-parent cpuset-cpus \
        isolation memory policy provenance resource sbom";
    for flag in flags.split_whitespace() {
        let line = format!("docker build --{flag}= .");
        assert_eq!(said(&line), "accepted", "{line}");
    }
    assert_eq!(said("docker build --attest type=provenance,disabled=true ."), "accepted");
}

#[test]
fn the_last_question_counts() {
    let method = |line: &str| match parsed(line).unwrap().command {
        Commands::Build(build) => build.question().map(|call| call.method),
        _ => panic!("no build"),
    };
    use call::Method::{Check, Outline};
    assert_eq!(method("docker build --check --call=outline ."), Some(Outline));
    assert_eq!(method("docker build --call=outline --check ."), Some(Check));
    assert_eq!(method("docker build --check=1 ."), Some(Check));
    assert_eq!(method("docker build --check=F ."), None);
    assert_eq!(method("docker build --check --call= ."), None);
}

#[test]
fn what_does_not_work_yet_is_refused_by_name() {
    let cases = [
        (
            "docker search alpine",
            "error: `search` is not supported yet: the OCI distribution specification has no search, only Docker Hub's own interface\n  help: look at the registry's web page; `manifest inspect NAME:TAG` says whether an image is there",
        ),
        (
            "docker compose up",
            "error: `compose` is not supported yet: there is no compose\n  help: start the containers with `run -d`, each with a unit of systemd: docs/run.md",
        ),
        (
            "docker buildx --builder other build .",
            "error: --builder other is not supported yet: there is one builder, this program\n  help: leave out --builder; galley ignores no flag silently",
        ),
        (
            "galley pull --all-tags alpine",
            "error: --all-tags is not supported yet: every tag of a repository is rarely what one wants: name them\n  help: leave out --all-tags; galley ignores no flag silently",
        ),
        (
            "galley build --resource memory=1g .",
            "error: --resource memory=1g is not supported yet: it is the builder's; --memory, --cpus and the like limit each step\n  help: leave out --resource; galley ignores no flag silently",
        ),
        (
            "docker -H tcp://x build .",
            "error: --host tcp://x is not supported yet: there is no daemon to talk to\n  help: leave out --host; galley ignores no flag silently",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(said(line), expected, "{line}");
    }
}

#[test]
fn every_flag_of_docker_is_known() {
    // From `docker buildx build --help` and `docker run --help`, 28.2 and 0.24.
    let build = "add-host allow annotation attest build-arg build-context cache-from cache-to call cgroup-parent check \
        file iidfile label load metadata-file network no-cache no-cache-filter output platform policy progress \
        provenance pull push quiet resource sbom secret shm-size ssh tag target ulimit builder debug compress \
        cpu-period cpu-quota cpu-shares cpuset-cpus cpuset-mems disable-content-trust force-rm isolation memory \
        memory-swap rm security-opt squash";
    let run = "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns \
        cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus \
        cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps \
        device-write-iops disable-content-trust dns dns-option dns-search domainname entrypoint env env-file expose \
        gpus group-add health-cmd health-interval health-retries health-start-interval health-start-period \
        health-timeout hostname init interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory \
        label label-file link link-local-ip log-driver log-opt mac-address memory memory-reservation memory-swap \
        memory-swappiness mount name network network-alias no-healthcheck oom-kill-disable oom-score-adj pid \
        pids-limit platform privileged publish publish-all pull quiet read-only restart rm runtime security-opt \
        shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit use-api-socket user userns \
        uts volume volume-driver volumes-from workdir";
    let parser = parser(&Environment::of(&[]));
    let create = run.replace("detach-keys ", "").replace("detach ", "").replace("sig-proxy ", "");
    for (command, flags) in [("build", build), ("run", run), ("create", &create)] {
        let command = parser.find_subcommand(command).unwrap();
        for flag in flags.split_whitespace() {
            let known = command.get_arguments().any(|argument| {
                argument.get_long() == Some(flag)
                    || argument.get_visible_aliases().unwrap_or_default().contains(&flag)
            });
            assert!(known, "{} --{flag} is unknown", command.get_name());
        }
    }
}

#[test]
fn every_command_of_docker_is_known() {
    let commands = "run exec ps build pull push images login logout search version info builder checkpoint container \
        context image manifest network plugin system trust volume config node secret service stack swarm attach \
        commit cp create diff events export history import inspect kill load logs pause port rename restart rm rmi \
        save start stats stop tag top unpause update wait buildx compose";
    let parser = parser(&Environment::of(&[]));
    for command in commands.split_whitespace() {
        assert!(parser.find_subcommand(command).is_some(), "{command} is unknown");
    }
    let groups = [
        (
            "container",
            "attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm run \
            start stats stop top unpause update wait",
        ),
        ("image", "build history import inspect load ls prune pull push rm save tag"),
        ("manifest", "annotate create inspect push rm"),
        ("builder", "build prune"),
        ("system", "df events info prune"),
        ("volume", "create inspect ls prune rm update"),
        (
            "buildx",
            "bake build create dap debug du history imagetools inspect install ls policy prune rm stop uninstall use \
            version",
        ),
    ];
    for (group, commands) in groups {
        let group = parser.find_subcommand(group).unwrap();
        for command in commands.split_whitespace() {
            assert!(group.find_subcommand(command).is_some(), "{} {command} is unknown", group.get_name());
        }
    }
}

#[test]
fn mistakes_get_a_suggestion() {
    assert!(said("galley biuld .").contains("'build'"), "{}", said("galley biuld ."));
    assert!(said("galley build --taret x .").contains("'--target'"), "{}", said("galley build --taret x ."));
    assert!(said("galley build").contains("<PATH>"));
}

#[test]
fn only_what_works_is_suggested() {
    let prune = said("galley prune");
    assert!(prune.contains("tip: a similar subcommand exists: 'system prune'"), "{prune}");
    let compose = said("galley compos");
    assert!(!compose.contains("'compose'"), "{compose}");
}

#[test]
fn an_error_names_the_option_that_was_typed() {
    let old = said("galley builder prune --keep-storage abc");
    assert!(old.contains("'abc' for '--keep-storage <BYTES>'"), "{old}");
    assert!(parsed("galley builder prune -f --keep-storage 1g").is_ok());
}

#[test]
fn lists_of_volumes_take_what_means_something_for_volumes() {
    let help = said("galley volume ls --help");
    assert!(help.contains("Names alone") && !help.contains("--no-trunc"), "{help}");
}
