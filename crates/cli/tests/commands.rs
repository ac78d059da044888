//! The command line as a process: what needs no sandbox and no base image.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
};

use fs_err as fs;
use galley_testkit::TestEnv;

use crate::e2e::{succeeded, text};

fn galley(env: &TestEnv, arguments: &[&str]) -> Command {
    let mut command = env.command(env!("CARGO_BIN_EXE_galley"));
    command.args(arguments);
    command
}

fn docker(env: &TestEnv, arguments: &[&str]) -> Command {
    let mut command = galley(env, arguments);
    command.arg0("/usr/local/bin/docker");
    command
}

fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_names_every_command_that_works() {
    let env = TestEnv::new();
    let help = stdout(&succeeded(run(galley(&env, &["--help"]))));
    for command in
        "build pull push login logout run ps logs stop images inspect history tag rmi save load import lock parse fix create export rm manifest doctor version info completion".split(' ')
    {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in:\n{help}");
        let own = stdout(&succeeded(run(galley(&env, &[command, "--help"]))));
        assert!(own.contains("Usage: galley"), "{own}");
    }
    assert!(!help.contains("search"), "what does not work is not offered:\n{help}");
}

#[test]
fn versions_are_what_scripts_expect() {
    let env = TestEnv::new();
    let version = |command| stdout(&succeeded(run(command)));
    assert_eq!(version(galley(&env, &["--version"])), format!("galley {}\n", env!("CARGO_PKG_VERSION")));
    let docker_version = version(docker(&env, &["--version"]));
    assert!(docker_version.starts_with("Docker version 28.0.0, build galley-"), "{docker_version}");
    assert_eq!(version(docker(&env, &["version", "--format", "{{.Server.Version}}"])), "28.0.0\n");
    let both =
        ["version", "--format", "{{.Client.APIVersion}} {{.Server.APIVersion}} {{.Server.ApiVersion}}"];
    assert_eq!(version(docker(&env, &both)), "none none none\n");
    assert_eq!(version(docker(&env, &["info", "-f", "{{.OSType}}"])), "linux\n");
}

#[test]
fn info_is_what_scripts_look_for() {
    let env = TestEnv::new();
    let said = |arguments: &[&str]| stdout(&succeeded(run(galley(&env, arguments))));
    let fields = said(&["info", "-f", "{{.Architecture}} {{.Swarm.LocalNodeState}} {{.Driver}}"]);
    assert_eq!(fields, format!("{} inactive overlay\n", std::env::consts::ARCH));
    let plain = said(&["info"]);
    for heading in
        [" Server Version: ", " Storage Driver: overlay\n", " Docker Root Dir: /", "  Running: 0\n"]
    {
        assert!(plain.contains(heading), "{heading} is not in:\n{plain}");
    }
}

#[test]
fn who_names_no_command_gets_help() {
    let env = TestEnv::new();
    let root = env.path().join("root");
    let root = root.to_str().unwrap();
    for (arguments, expected) in [
        (&[][..], "\n  build  "),
        (&["--root", root], "\n  build  "),
        (&["volume"], "\n  prune  "),
        (&["volume", "--root", root], "\n  prune  "),
    ] {
        let output = run(galley(&env, arguments));
        assert_eq!((code(&output), stderr(&output).as_str()), (Some(0), ""), "{arguments:?}");
        let help = stdout(&output);
        assert!(help.contains(expected) && !help.contains("__supervise"), "{arguments:?}: {help}");
    }
}

#[test]
fn an_inspect_that_finds_nothing_prints_an_empty_list() {
    let env = TestEnv::new();
    let output = run(galley(&env, &["volume", "inspect", "nosuch"]));
    assert_eq!((code(&output), stdout(&output).as_str()), (Some(5), "[]\n"), "{}", text(&output));
    succeeded(run(galley(&env, &["volume", "create", "data"])));
    let output = run(galley(&env, &["volume", "inspect", "nosuch", "data"]));
    assert_eq!(code(&output), Some(5), "{}", text(&output));
    assert!(stdout(&output).contains("\n        \"Name\": \"data\",\n"), "{}", text(&output));
    assert!(stderr(&output).contains("no such volume: nosuch"), "{}", text(&output));
}

#[test]
fn wrong_use_ends_with_125() {
    let env = TestEnv::new();
    for arguments in [
        &["biuld", "."][..],
        &["build"],
        &["build", "--no-such-flag", "."],
        &["run", "--bogus", "x"],
        &["run", "--env", "=x", "x"],
        &["search", "x"],
    ] {
        let output = run(galley(&env, arguments));
        assert_eq!(code(&output), Some(125), "{arguments:?}: {}", text(&output));
        assert!(stderr(&output).starts_with("error: "), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn exit_codes_tell_why() {
    let env = TestEnv::new();
    let ends_with = |arguments: &[&str]| code(&run(galley(&env, arguments)));
    assert_eq!(ends_with(&["inspect", "nothing"]), Some(5));
    assert_eq!(ends_with(&["run", "--pull=never", "nothing"]), Some(125));
    assert_eq!(ends_with(&["build", "no-such-directory"]), Some(1));
    env.write("Dockerfile", "FORM scratch\n");
    assert_eq!(ends_with(&["build", "."]), Some(1));
    env.write("file", "");
    let root = env.work().join("file");
    assert_eq!(ends_with(&["--root", root.to_str().unwrap(), "images"]), Some(4));
}

#[test]
fn a_wrong_dockerfile_is_drawn() {
    let env = TestEnv::new();
    env.write("Dockerfile", "FROM scratch\nCOPPY a b\n");
    let expected = "\
error: unknown instruction `COPPY`
 --> Dockerfile:2:1
  |
2 | COPPY a b
  | ^^^^^ not an instruction
  |
  = help: did you mean `COPY`?
";
    assert_eq!(stderr(&run(galley(&env, &["build", "."]))), expected);
}

#[test]
fn a_syntax_tree_is_printed() {
    let env = TestEnv::new();
    env.write("Dockerfile", "FROM scratch AS a\nCOPY --link $X /\n");
    let plain = "1:from scratch AS a\n2:copy --link $X /\n";
    assert_eq!(stdout(&succeeded(run(galley(&env, &["parse"])))), plain);
    let json = stdout(&succeeded(run(galley(&env, &["parse", "--json", "Dockerfile"]))));
    let expected = serde_json::json!([
        {"name": "from", "flags": [], "args": ["scratch", "AS", "a"]},
        {"name": "copy", "flags": ["--link"], "args": ["$X", "/"]},
    ]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), expected);
    let mut piped = galley(&env, &["parse", "-"]);
    piped.stdin(fs::File::open(env.work().join("Dockerfile")).unwrap().into_parts().0);
    assert_eq!(stdout(&succeeded(piped.output().unwrap())), plain);
    env.write("wrong", "FROM scratch\nCOPPY a b\n");
    let output = run(galley(&env, &["parse", "wrong"]));
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains(" --> wrong:2:1\n"), "{}", text(&output));
    assert_eq!(code(&run(galley(&env, &["parse", "nowhere"]))), Some(1));
    assert_eq!(stdout(&succeeded(run(galley(&env, &["parse", "."])))), plain);
}

#[test]
fn docker_host_is_mentioned_once() {
    let env = TestEnv::new();
    let mut command = docker(&env, &["images"]);
    command.env("DOCKER_HOST", "tcp://elsewhere:2375");
    let output = succeeded(run(command));
    assert_eq!(
        stderr(&output),
        "warning: DOCKER_HOST=tcp://elsewhere:2375 is not used: galley has no daemon and works here\n  help: unset DOCKER_HOST to be rid of this\n"
    );
    assert_eq!(stderr(&succeeded(run(docker(&env, &["images"])))), "");
    let mut command = docker(&env, &["images"]);
    command.env("DOCKER_CONTEXT", "elsewhere");
    assert!(stderr(&succeeded(run(command))).starts_with("warning: DOCKER_CONTEXT=elsewhere is not used"));
    let mut command = docker(&env, &["images"]);
    command.env("DOCKER_CONTEXT", "default");
    assert_eq!(stderr(&succeeded(run(command))), "");
}

#[test]
fn help_is_a_command_too() {
    let env = TestEnv::new();
    assert!(stdout(&succeeded(run(docker(&env, &["help"])))).contains("Usage: docker"));
    assert!(stdout(&succeeded(run(docker(&env, &["help", "build"])))).contains("--build-arg"));
}

#[test]
fn what_is_missing_is_named() {
    let env = TestEnv::new();
    let output = run(galley(&env, &["build", "no-such-folder"]));
    assert_eq!(code(&output), Some(1));
    assert_eq!(stderr(&output), "error: the build context no-such-folder does not exist\n");
    env.write("Dockerfile", "FROM scratch AS one\nCOPY Dockerfile /\n");
    let output = run(galley(&env, &["build", "--target", "two", "."]));
    assert_eq!(code(&output), Some(5), "{}", text(&output));
}

#[test]
fn empty_lists_have_headings() {
    let env = TestEnv::new();
    assert_eq!(
        stdout(&succeeded(run(galley(&env, &["images"])))),
        "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n"
    );
    let ps = "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n";
    assert_eq!(stdout(&succeeded(run(galley(&env, &["container", "ls"])))), ps);
    assert_eq!(stdout(&succeeded(run(galley(&env, &["images", "-q"])))), "");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let env = TestEnv::new();
    for arguments in [&["completion", "bash"][..], &["images"]] {
        let mut command = galley(&env, arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!((code(&output), stderr(&output)), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn completions_know_the_commands() {
    let env = TestEnv::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&succeeded(run(galley(&env, &["completion", shell]))));
        assert!(script.contains("build-context"), "{shell}");
        for hidden in ["isolation", "__supervise", "swarm"] {
            assert!(!script.contains(hidden), "{shell} offers {hidden}");
        }
    }
    let script = stdout(&succeeded(run(docker(&env, &["completion", "bash"]))));
    assert!(script.contains("complete -F _docker"), "completions are for the name that was used");
    let file = env.work().join("galley.bash");
    fs::write(&file, stdout(&succeeded(run(galley(&env, &["completion", "bash"]))))).unwrap();
    assert!(
        Command::new("bash").arg("-n").arg(&file).status().unwrap().success(),
        "bash cannot read its completions"
    );
}

#[test]
fn every_command_has_a_man_page() {
    let env = TestEnv::new();
    let folder = env.work().join("man");
    succeeded(run(galley(&env, &["man", folder.to_str().unwrap()])));
    let page = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert!(page("galley.1").contains("GALLEY_ROOT"));
    let build = page("galley-build.1");
    assert!(
        build.contains("reproducible") && !build.contains("isolation"),
        "hidden flags have no place in it"
    );
    assert!(page("galley-image-ls.1").contains("List images"));
    let names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.contains("search") || name.contains("__")), "{names:?}");
}

#[test]
fn the_tour_of_the_readme_uses_real_flags() {
    let env = TestEnv::new();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let fenced = readme.split("```").skip(1).step_by(2).flat_map(str::lines);
    let commands: Vec<&str> = fenced.filter_map(|line| line.strip_prefix("galley ")).collect();
    assert!(commands.len() >= 5, "the tour is gone");
    for command in commands {
        // With --help, the parser checks all that stands before it and nothing is done.
        let words: Vec<&str> =
            command.split_whitespace().take_while(|word| !word.starts_with(['|', '>', '#'])).collect();
        let name = words[0];
        let output = run(galley(&env, &[name, "--help"]));
        let help = stdout(&succeeded(output));
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap();
            assert!(help.contains(flag), "`galley {command}`: {flag} is not in its help");
        }
    }
}

/// A Dockerfile with a safe fix and one that is made on request.
const FIXABLE: &str = "FROM scratch as a\r\nMAINTAINER me\r\n";

#[test]
fn a_fix_is_shown_and_then_written() {
    let env = TestEnv::new();
    let path = env.work().join("Dockerfile");
    env.write("Dockerfile", FIXABLE);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let diff = "--- Dockerfile\n+++ Dockerfile\n@@ -1,2 +1,2 @@\n-FROM scratch as a\r\n+FROM scratch AS a\r\n MAINTAINER me\r\n";

    let shown = run(galley(&env, &["fix", "--dry-run"]));
    assert_eq!((code(&shown), stdout(&shown).as_str()), (Some(1), diff), "{}", text(&shown));
    let made = "FromAsCasing: write AS as FROM is written\n";
    let offer = "--rule MaintainerDeprecated has a fix too, for line 2\n";
    assert_eq!(stderr(&shown), format!("{made}{offer}"));

    let unasked = run(galley(&env, &["fix"]));
    assert_eq!((code(&unasked), stdout(&unasked).as_str()), (Some(125), diff), "{}", text(&unasked));
    assert_eq!(fs::read_to_string(&path).unwrap(), FIXABLE);

    let written = succeeded(run(galley(&env, &["fix", "--yes"])));
    assert_eq!(stdout(&written), diff);
    let fixed = FIXABLE.replace(" as ", " AS ");
    assert_eq!(fs::read_to_string(&path).unwrap(), fixed);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);

    let again = succeeded(run(galley(&env, &["fix"])));
    assert_eq!(
        (stdout(&again).as_str(), stderr(&again)),
        ("", format!("nothing to fix in Dockerfile\n{offer}"))
    );
}

#[test]
fn rules_to_fix_are_chosen_by_name() {
    let env = TestEnv::new();
    env.write("sub/Containerfile", FIXABLE);
    fs_err::os::unix::fs::symlink("sub/Containerfile", env.work().join("link")).unwrap();
    // The file itself, by way of a link; whatever its case, a rule is found.
    succeeded(run(galley(&env, &["fix", "--yes", "--rule", "maintainerdeprecated", "link"])));
    let label = "LABEL org.opencontainers.image.authors=\"me\"";
    let fixed = FIXABLE.replace("MAINTAINER me", label);
    assert_eq!(fs::read_to_string(env.work().join("sub/Containerfile")).unwrap(), fixed);
    assert!(fs::symlink_metadata(env.work().join("link")).unwrap().is_symlink());
    succeeded(run(galley(&env, &["fix", "--yes", "--all", "-f", "sub/Containerfile"])));
    let fixed = fixed.replace(" as ", " AS ");
    assert_eq!(fs::read_to_string(env.work().join("sub/Containerfile")).unwrap(), fixed);

    let unknown = run(galley(&env, &["fix", "--rule", "Nothing"]));
    assert_eq!(code(&unknown), Some(125));
    assert!(stderr(&unknown).contains("there is no rule Nothing"), "{}", text(&unknown));
    assert_eq!(code(&run(galley(&env, &["fix", "nowhere"]))), Some(1));
}

#[test]
fn a_piped_dockerfile_is_fixed_to_standard_output() {
    let env = TestEnv::new();
    env.write("Dockerfile", FIXABLE);
    let piped = |arguments: &[&str]| {
        let mut command = galley(&env, arguments);
        command.stdin(fs::File::open(env.work().join("Dockerfile")).unwrap().into_parts().0);
        command.output().unwrap()
    };
    for arguments in [&["fix", "-f", "-"][..], &["fix", "-"]] {
        assert_eq!(stdout(&succeeded(piped(arguments))), FIXABLE.replace(" as ", " AS "));
    }
    // A lock stands beside the Dockerfile.
    for arguments in [&["lock", "-f", "-"][..], &["lock", "-"]] {
        let output = piped(arguments);
        assert_eq!(code(&output), Some(125));
        assert!(stderr(&output).contains("has no folder for its galley.lock"), "{}", text(&output));
    }
    let shown = piped(&["fix", "-f", "-", "--diff"]);
    assert_eq!(code(&shown), Some(1));
    assert!(stdout(&shown).starts_with("--- Dockerfile\n"), "{}", text(&shown));
    assert_eq!(fs::read_to_string(env.work().join("Dockerfile")).unwrap(), FIXABLE);
}

#[test]
fn what_cannot_be_built_is_fixed_as_far_as_it_is_known() {
    let env = TestEnv::new();
    env.write("Dockerfile", "FROM scratch as a\nCOPY --from=9 x /\n");
    let output = succeeded(run(galley(&env, &["fix", "--yes"])));
    assert!(stderr(&output).starts_with("warning: Dockerfile:2:"), "{}", text(&output));
    assert!(fs::read_to_string(env.work().join("Dockerfile")).unwrap().starts_with("FROM scratch AS a\n"));
    env.write("Dockerfile", "FORM scratch\n");
    assert_eq!(code(&run(galley(&env, &["fix", "--yes"]))), Some(1));
}

#[test]
fn own_rules_are_told_to_those_who_call_galley() {
    let env = TestEnv::new();
    env.write("Dockerfile", "# check=error=true\nFROM scratch\nCOPY . /\nCMD [\"/app\"]\n");
    env.write(".env", "PASSWORD=x");
    let own = run(galley(&env, &["build", "--check", "."]));
    assert_eq!(code(&own), Some(1), "{}", text(&own));
    for found in
        ["LastUserRoot - docs/rules/LastUserRoot.md", "DockerignoreRecommended", "what looks secret (.env)"]
    {
        assert!(stdout(&own).contains(found), "{found} is not in {}", text(&own));
    }
    assert_eq!(stderr(&own), "", "error=true is about Docker's rules");
    let docker = succeeded(run(docker(&env, &["build", "--check", "."])));
    assert_eq!(stdout(&docker), "Check complete, no warnings found.\n");
}
