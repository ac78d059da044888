use std::path::Path;

use fs_err as fs;
use galley_oci::Reference;
use proptest::prelude::*;

use super::{Endpoint, Hosts, PullBy, authority, cidr::Cidr, daemon_json, location::Prefix, registries_conf};
use crate::{Environment, environment};

const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// `base repository registry`, with `!` for insecure and `~` for a mirror.
fn show(endpoint: &Endpoint) -> String {
    let Endpoint { base, repository, registry, mirror, insecure, .. } = endpoint;
    let mark = |set: bool, mark| if set { mark } else { "" };
    format!("{}{}{base} {repository} {registry}", mark(*mirror, "~"), mark(*insecure, "!"))
}

fn endpoints(hosts: &Hosts, text: &str) -> Vec<String> {
    hosts.endpoints(&reference(text)).unwrap().iter().map(show).collect()
}

/// What hosts are with this `registries.conf`.
fn hosts_of(conf: &str) -> Hosts {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/containers/registries.conf", conf);
    Hosts::load(&environment::of(&[], root.path()), &[]).unwrap()
}

fn load_error(environment: &Environment) -> String {
    Hosts::load(environment, &[]).unwrap_err().to_string()
}

fn parse_error(conf: &str) -> String {
    registries_conf::parse(Path::new("/r.conf"), conf.as_bytes()).unwrap_err().to_string()
}

#[test]
fn without_settings_names_say_where_to_go() {
    let hosts = Hosts::default();
    assert_eq!(endpoints(&hosts, "alpine"), ["https://registry-1.docker.io library/alpine docker.io"]);
    assert_eq!(endpoints(&hosts, "quay.io/a/b:1"), ["https://quay.io a/b quay.io"]);
    assert_eq!(endpoints(&hosts, "localhost:5000/a"), ["!https://localhost:5000 a localhost:5000"]);
    assert_eq!(endpoints(&hosts, "127.1.2.3:5000/a"), ["!https://127.1.2.3:5000 a 127.1.2.3:5000"]);
}

#[test]
fn mirrors_come_first_and_keep_their_conditions() {
    let hosts = hosts_of(
        r#"
        unqualified-search-registries = ["quay.io"]
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.example.com:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "digests.example.com"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.example.com"
        pull-from-mirror = "tag-only"
        "#,
    );
    let first = "~!https://mirror.example.com:5000 hub/library/alpine mirror.example.com:5000";
    let last = "https://registry-1.docker.io library/alpine docker.io";
    let tags = "~https://tags.example.com library/alpine tags.example.com";
    assert_eq!(endpoints(&hosts, "alpine"), [first, tags, last]);
    let digests = "~https://digests.example.com library/alpine digests.example.com";
    assert_eq!(endpoints(&hosts, &format!("alpine{DIGEST}")), [first, digests, last]);
    let found = hosts.endpoints(&reference("alpine")).unwrap();
    assert_eq!(found[1].pull, PullBy::Tag);
    assert_eq!(show(&hosts.push_endpoint(&reference("alpine")).unwrap()), last);
}

#[test]
fn mirror_by_digest_only_holds_for_all_mirrors() {
    let hosts = hosts_of(
        "[[registry]]\nlocation = 'a.example'\nmirror-by-digest-only = true\n\
         [[registry.mirror]]\nlocation = 'm.example'\n",
    );
    assert_eq!(endpoints(&hosts, "a.example/x:1"), ["https://a.example x a.example"]);
    assert_eq!(endpoints(&hosts, &format!("a.example/x{DIGEST}")).len(), 2);
}

#[test]
fn the_longest_prefix_rewrites() {
    let hosts = hosts_of(
        "[[registry]]\nprefix = 'a.example'\nlocation = 'far.example/all'\n\
         [[registry]]\nprefix = 'a.example/team/'\nlocation = 'near.example:5000/t/'\ninsecure = true\n\
         [[registry]]\nprefix = 'a.example/one/app'\nlocation = 'one.example/other'\n",
    );
    assert_eq!(endpoints(&hosts, "a.example/x"), ["https://far.example all/x far.example"]);
    assert_eq!(endpoints(&hosts, "a.example/team/x"), ["!https://near.example:5000 t/x near.example:5000"]);
    assert_eq!(endpoints(&hosts, "a.example/teams/x"), ["https://far.example all/teams/x far.example"]);
    assert_eq!(endpoints(&hosts, "a.example/one/app:2"), ["https://one.example other one.example"]);
    assert_eq!(endpoints(&hosts, "a.example:5000/x"), ["https://a.example:5000 x a.example:5000"]);
    let push = hosts.push_endpoint(&reference("a.example/team/x")).unwrap();
    assert_eq!(show(&push), "!https://a.example team/x a.example");
}

#[test]
fn wildcards_are_for_hosts_below_a_domain() {
    let hosts = hosts_of(
        "[[registry]]\nprefix = '*.example.com'\ninsecure = true\n\
         [[registry]]\nprefix = '*.moved.org'\nlocation = 'new.org/old'\n",
    );
    assert_eq!(
        endpoints(&hosts, "a.example.com:5000/x"),
        ["!https://a.example.com:5000 x a.example.com:5000"]
    );
    assert_eq!(endpoints(&hosts, "example.com/x"), ["https://example.com x example.com"]);
    assert_eq!(endpoints(&hosts, "quay.io/a.example.com/x"), ["https://quay.io a.example.com/x quay.io"]);
    assert_eq!(endpoints(&hosts, "a.moved.org/x/y"), ["https://new.org old/x/y new.org"]);
}

#[test]
fn blocked_registries_are_refused_with_the_file() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/containers/registries.conf", "");
    write(
        root.path(),
        "etc/containers/registries.conf.d/10-block.conf",
        "[[registry]]\nlocation = 'bad.example'\nblocked = true\n",
    );
    let hosts = Hosts::load(&environment::of(&[], root.path()), &[]).unwrap();
    let file = root.path().join("etc/containers/registries.conf.d/10-block.conf");
    for error in [
        hosts.endpoints(&reference("bad.example/x")).unwrap_err(),
        hosts.push_endpoint(&reference("bad.example/x")).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), format!("registry bad.example is blocked by {}", file.display()));
    }
}

#[test]
fn later_files_replace_entries_with_the_same_prefix() {
    let root = tempfile::tempdir().unwrap();
    let registry = |location: &str| format!("[[registry]]\nprefix = 'a.example'\nlocation = '{location}'\n");
    write(root.path(), "etc/containers/registries.conf", &registry("main.example"));
    let of = || Hosts::load(&environment::of(&[], root.path()), &[]).unwrap();
    assert_eq!(endpoints(&of(), "a.example/x"), ["https://main.example x main.example"]);
    write(root.path(), "home/.config/containers/registries.conf", &registry("user.example"));
    assert_eq!(endpoints(&of(), "a.example/x"), ["https://user.example x user.example"]);
    write(root.path(), "etc/containers/registries.conf.d/b.conf", &registry("b.example"));
    write(root.path(), "etc/containers/registries.conf.d/a.conf", &registry("aa.example"));
    write(root.path(), "etc/containers/registries.conf.d/c.txt", "not looked at");
    assert_eq!(endpoints(&of(), "a.example/x"), ["https://b.example x b.example"]);
    write(root.path(), "home/.config/containers/registries.conf.d/a.conf", &registry("last.example"));
    assert_eq!(endpoints(&of(), "a.example/x"), ["https://last.example x last.example"]);
}

#[test]
fn a_variable_names_the_only_file() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        "etc/containers/registries.conf",
        "[[registry]]\nlocation = 'a.example'\nblocked = true\n",
    );
    write(root.path(), "mine.conf", "");
    let mine = root.path().join("mine.conf");
    let environment = environment::of(&[("CONTAINERS_REGISTRIES_CONF", mine.to_str().unwrap())], root.path());
    let hosts = Hosts::load(&environment, &[]).unwrap();
    assert_eq!(endpoints(&hosts, "a.example/x").len(), 1);
    fs::remove_file(&mine).unwrap();
    assert_eq!(load_error(&environment), "cannot read settings");
}

#[test]
fn errors_of_registries_conf_name_the_line() {
    let cases = [
        ("\n[[registry]\n", "line 2: unclosed array table, expected `]`"),
        ("[[registry]]\n", "line 1: a [[registry]] has neither prefix nor location: give one of them"),
        ("[[registry]]\n\nprefix = 'a.b'\n", "line 3: prefix \"a.b\" has no location: add one"),
        (
            "[[registry]]\nlocation = 'https://a.b'\n",
            "line 2: \"https://a.b\" has a scheme: write host[:port][/path], and insecure = true for http",
        ),
        (
            "[[registry]]\nlocation = 'a b'\n",
            "line 2: \"a b\" does not begin with a host: write host[:port][/path]",
        ),
        (
            "[[registry]]\nprefix = '*.a.b:5000'\n",
            "line 2: \"*.a.b:5000\" is no wildcard: write *.example.com, without port and path",
        ),
        (
            "[[registry]]\nlocation = 'a.b'\n[[registry.mirror]]\nlocation='c.d'\npull-from-mirror='some'\n",
            "line 5: pull-from-mirror is \"some\": write all, digest-only or tag-only",
        ),
        (
            "[registries.search]\nregistries = ['a']\n",
            "line 1: the table [registries] is version 1 of this format: write [[registry]] tables",
        ),
        (
            "[[registry]]\nlocation = 'a.b'\ninsecure = 'yes'\n",
            "line 3: invalid type: string \"yes\", expected a boolean",
        ),
    ];
    for (conf, text) in cases {
        assert_eq!(parse_error(conf), format!("/r.conf is wrong: {text}"));
    }
}

#[test]
fn docker_hub_has_the_mirrors_of_daemon_json() {
    let root = tempfile::tempdir().unwrap();
    let json = r#"{"registry-mirrors": ["https://m.example/", "http://10.1.2.3:5000"],
        "insecure-registries": ["10.0.0.0/8", "reg.example:5000"], "debug": true}"#;
    write(root.path(), "etc/docker/daemon.json", json);
    let hosts = Hosts::load(&environment::of(&[], root.path()), &[]).unwrap();
    let found = endpoints(&hosts, "user/app");
    assert_eq!(found[0], "~https://m.example user/app m.example");
    assert_eq!(found[1], "~!http://10.1.2.3:5000 user/app 10.1.2.3:5000");
    assert_eq!(found[2..], ["https://registry-1.docker.io user/app docker.io"]);
    assert_eq!(endpoints(&hosts, "reg.example:5000/x"), ["!https://reg.example:5000 x reg.example:5000"]);
    assert_eq!(endpoints(&hosts, "10.255.0.1/x"), ["!https://10.255.0.1 x 10.255.0.1"]);
    assert_eq!(endpoints(&hosts, "11.0.0.1/x"), ["https://11.0.0.1 x 11.0.0.1"]);
    write(root.path(), "home/.config/docker/daemon.json", "{}");
    let hosts = Hosts::load(&environment::of(&[], root.path()), &[]).unwrap();
    assert_eq!(endpoints(&hosts, "user/app").len(), 1);
}

#[test]
fn errors_of_daemon_json_name_the_line() {
    let root = tempfile::tempdir().unwrap();
    let environment = environment::of(&[], root.path());
    let path = root.path().join("etc/docker/daemon.json");
    let cases = [
        ("{\n \"a\": tru}", "it is not valid JSON at 2:10 (line:column)"),
        ("{", "the JSON ends too early at 1:1 (line:column)"),
        ("{\n\"registry-mirrors\": \"m\"}", "line 2: \"registry-mirrors\" is not a list of strings"),
        (
            "{\"registry-mirrors\": [\n\"https://m/x\"]}",
            "line 2: a registry mirror must be http://host[:port] or https://host[:port], and nothing more",
        ),
        (
            "{\"insecure-registries\":\n [\"a/b\"]}",
            "line 2: \"a/b\" is no registry: write host[:port], or a range of addresses as 10.0.0.0/8",
        ),
    ];
    for (json, text) in cases {
        write(root.path(), "etc/docker/daemon.json", json);
        assert_eq!(load_error(&environment), format!("{} is wrong: {text}", path.display()));
    }
}

#[test]
fn flags_and_a_variable_name_insecure_registries() {
    let root = tempfile::tempdir().unwrap();
    let environment =
        environment::of(&[("GALLEY_INSECURE_REGISTRIES", "a.example, b.example:5000")], root.path());
    let hosts = Hosts::load(&environment, &["http://c.example".to_owned()]).unwrap();
    let insecure =
        |registry: &str| hosts.push_endpoint(&reference(&format!("{registry}/x"))).unwrap().insecure;
    assert!(insecure("a.example") && insecure("b.example:5000") && insecure("c.example"));
    assert!(!insecure("a.example:5000") && !insecure("b.example"));
    let error = Hosts::load(&environment, &["a b".to_owned()]).unwrap_err();
    let text = "--insecure-registry is wrong: \"a b\" is no registry: write host[:port], or a range of addresses as 10.0.0.0/8";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_registry_alone_can_be_logged_in_at() {
    let hosts = hosts_of("[[registry]]\nlocation = 'docker.io'\ninsecure = true\n");
    let nothing = |registry: &str| Reference {
        registry: registry.to_owned(),
        repository: String::new(),
        tag: None,
        digest: None,
    };
    let of = |registry| show(&hosts.push_endpoint(&nothing(registry)).unwrap());
    assert_eq!(of("docker.io"), "!https://registry-1.docker.io  docker.io");
    assert_eq!(of("a.example"), "https://a.example  a.example");
}

#[test]
fn a_location_without_a_repository_is_an_error() {
    let hosts = hosts_of("[[registry]]\nprefix = 'a.example/x'\nlocation = 'b.example'\n");
    let error = hosts.endpoints(&reference("a.example/x")).unwrap_err().to_string();
    assert!(
        error
            .ends_with("location \"b.example\" has no repository for its prefix: write b.example/REPOSITORY")
    );
}

#[test]
fn loopback_is_this_machine_alone() {
    for host in
        ["localhost", "localhost:1", "a.localhost", "127.0.0.1", "127.9.9.9:5", "[::1]:5000", "LOCALHOST"]
    {
        assert!(authority::is_loopback(host), "{host}");
    }
    for host in [
        "127.0.0.1.example.com",
        "localhost.example.com",
        "128.0.0.1",
        "[::2]:5000",
        "notlocalhost",
        "127.evil",
    ] {
        assert!(!authority::is_loopback(host), "{host}");
    }
}

#[test]
fn ranges_of_addresses() {
    let holds = |range: &str, address: &str| Cidr::parse(range).unwrap().contains(address.parse().unwrap());
    assert!(
        holds("10.0.0.0/8", "10.200.0.1") && holds("0.0.0.0/0", "1.2.3.4") && holds("fd00::/8", "fd12::1")
    );
    assert!(
        holds("10.1.2.3/32", "10.1.2.3") && holds("10.0.0.0/8", "::ffff:10.1.1.1") && holds("::/0", "::1")
    );
    assert!(!holds("10.0.0.0/8", "11.0.0.1") && !holds("::/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
    for wrong in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "a/8", "10.0.0.0/-1", "/"] {
        assert_eq!(Cidr::parse(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn foreign_registries_conf_never_panics(text in "(\\[\\[registry(\\.mirror)?\\]\\]|(prefix|location|insecure|blocked|pull-from-mirror) = |'[a-z*./:\\[\\]]{0,12}'|true|\\PC|\n| ){0,40}") {
        let _ = registries_conf::parse(Path::new("/r.conf"), text.as_bytes());
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = registries_conf::parse(Path::new("/r.conf"), &bytes);
        let _ = daemon_json::parse(Path::new("/d.json"), &bytes);
    }

    #[test]
    fn mirrors_are_read_as_text_or_refused(mirror in "\\PC{0,30}") {
        let json = serde_json::json!({ "registry-mirrors": [&mirror], "insecure-registries": [&mirror] }).to_string();
        let _ = daemon_json::parse(Path::new("/d.json"), json.as_bytes());
        let _ = Prefix::parse(&mirror);
    }

    /// Whatever the prefix, what it matches is the prefix and the rest.
    #[test]
    fn a_match_is_prefix_and_rest(prefix in "[a-c]{1,2}\\.d(/[a-c]{1,2}){0,2}", name in "[a-c]{1,2}\\.d(/[a-c]{1,2}){1,3}") {
        let registry = name.split_once('/').unwrap().0;
        match Prefix::parse(&prefix).unwrap().rest_of(registry, &name) {
            Some("") => prop_assert_eq!(&name, &prefix),
            Some(rest) => prop_assert_eq!(format!("{}/{}", prefix, rest), name),
            None => {
                let below = format!("{}/", prefix);
                prop_assert!(name != prefix && !name.starts_with(&below));
            }
        }
    }
}
