use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fs_err as fs;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Credential, Credentials, Inner, Kept, auth_file::AuthFile, key};
use crate::{RegistryError, Secret, environment};

const PASSWORD: &str = "hunter2-Zq";

fn basic(user: &str, password: &str) -> Credential {
    Credential::Basic { user: user.to_owned(), password: Secret::new(password) }
}

fn auth(user: &str) -> String {
    STANDARD.encode(format!("{user}:{PASSWORD}"))
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    mode(path, 0o600);
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A home with one docker `config.json`.
fn home_of(config: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("home/.docker/config.json"), config);
    root
}

fn of(root: &TempDir) -> Credentials {
    let path = root.path().join("bin");
    Credentials::load(&environment::of(&[("PATH", path.to_str().unwrap())], root.path()))
}

fn user(credentials: &Credentials, registry: &str, repository: &str) -> String {
    match credentials.get(registry, repository).unwrap() {
        Credential::Anonymous => "-".to_owned(),
        Credential::Basic { user, .. } => user,
        Credential::IdentityToken(_) => "token".to_owned(),
    }
}

fn text_of(result: Result<Credential, RegistryError>) -> String {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(!format!("{text}{error:?}").contains(PASSWORD), "{error:?}");
    text
}

/// A program `docker-credential-NAME` that runs `script`; `$1` is what to do.
fn helper(root: &TempDir, name: &str, script: &str) {
    let path = root.path().join("bin").join(format!("docker-credential-{name}"));
    write(&path, &format!("#!/bin/sh\n{script}\n"));
    mode(&path, 0o700);
}

#[test]
fn entries_have_many_forms() {
    let root = home_of(&format!(
        r#"{{"auths": {{
            "plain.example:5000": {{"auth": "{}"}},
            "fields.example": {{"username": "fields", "password": "{PASSWORD}"}},
            "token.example": {{"auth": "{}", "identitytoken": "t"}},
            "zeros.example": {{"auth": "{}"}},
            "https://url.example/v2/": {{"auth": "{}"}},
            "empty.example": {{}}
        }}}}"#,
        auth("plain").trim_end_matches('='),
        auth("ignored"),
        STANDARD.encode(format!("zeros:{PASSWORD}\0\0")),
        auth("url"),
    ));
    let credentials = of(&root);
    assert_eq!(credentials.get("plain.example:5000", "a").unwrap(), basic("plain", PASSWORD));
    assert_eq!(credentials.get("PLAIN.example:5000", "a").unwrap(), basic("plain", PASSWORD));
    assert_eq!(credentials.get("fields.example", "a").unwrap(), basic("fields", PASSWORD));
    assert_eq!(credentials.get("token.example", "a").unwrap(), Credential::IdentityToken(Secret::new("t")));
    assert_eq!(credentials.get("zeros.example", "a").unwrap(), basic("zeros", PASSWORD));
    assert_eq!(user(&credentials, "url.example", "a"), "url");
    for nobody in ["empty.example", "plain.example", "example", "other.example"] {
        assert_eq!(user(&credentials, nobody, "a"), "-", "{nobody}");
    }
}

#[test]
fn docker_hub_has_many_names() {
    for key in [
        "https://index.docker.io/v1/",
        "docker.io",
        "index.docker.io",
        "https://registry-1.docker.io",
        "index.docker.io/v1/",
    ] {
        let root = home_of(&format!(r#"{{"auths": {{"{key}": {{"auth": "{}"}}}}}}"#, auth("me")));
        assert_eq!(user(&of(&root), "docker.io", "library/alpine"), "me", "{key}");
    }
}

#[test]
fn the_most_specific_key_counts() {
    let entry = |key: &str, user: &str| format!(r#""{key}": {{"auth": "{}"}}"#, auth(user));
    let entries = [
        entry("a.example", "host"),
        entry("a.example/team/app", "app"),
        entry("a.example/team", "team"),
        entry("http://b.example", "old"),
        entry("b.example", "new"),
        entry("docker.io/me", "hub"),
    ];
    let root = home_of(&format!(r#"{{"auths": {{{}}}}}"#, entries.join(",")));
    let credentials = of(&root);
    assert_eq!(user(&credentials, "a.example", "other/app"), "host");
    assert_eq!(user(&credentials, "a.example", "team/app"), "app");
    assert_eq!(user(&credentials, "a.example", "team/app/sub"), "app");
    assert_eq!(user(&credentials, "a.example", "team/apple"), "team");
    assert_eq!(user(&credentials, "a.example", "teams/app"), "host");
    assert_eq!(user(&credentials, "b.example", "x"), "new");
    assert_eq!(user(&credentials, "docker.io", "me/app"), "hub");
    assert_eq!(user(&credentials, "docker.io", "library/app"), "-");
}

#[test]
fn files_are_asked_in_order() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    let file = |path: &str, user: &str| {
        write(&at(path), &format!(r#"{{"auths": {{"a.example": {{"auth": "{}"}}}}}}"#, auth(user)));
    };
    let variables = |names: &[&str]| {
        let mut all = Vec::new();
        for name in names {
            all.push(match *name {
                "REGISTRY_AUTH_FILE" => (*name, at("named.json").display().to_string()),
                "DOCKER_CONFIG" => (*name, at("docker").display().to_string()),
                "XDG_RUNTIME_DIR" => (*name, at("runtime").display().to_string()),
                _ => (*name, format!(r#"{{"auths": {{"a.example": {{"auth": "{}"}}}}}}"#, auth("content"))),
            });
        }
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        user(&Credentials::load(&environment::of(&all, root.path())), "a.example", "x")
    };
    assert_eq!(variables(&[]), "-");
    file("home/.config/containers/auth.json", "settings");
    assert_eq!(variables(&[]), "settings");
    file("run/containers/1000/auth.json", "run");
    assert_eq!(variables(&[]), "run");
    file("runtime/containers/auth.json", "runtime");
    assert_eq!(variables(&["XDG_RUNTIME_DIR"]), "runtime");
    file("home/.docker/config.json", "docker");
    assert_eq!(variables(&["XDG_RUNTIME_DIR"]), "docker");
    file("docker/config.json", "elsewhere");
    assert_eq!(variables(&["DOCKER_CONFIG"]), "elsewhere");
    assert_eq!(variables(&["DOCKER_CONFIG", "DOCKER_AUTH_CONFIG"]), "content");
    assert_eq!(variables(&["DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"]), "content");
    file("named.json", "named");
    assert_eq!(variables(&["DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"]), "named");
}

#[test]
fn errors_name_the_place_and_no_content() {
    let secret = auth("me");
    let cases = [
        (format!("{{\n\"auths\": {{ \"a\": {PASSWORD}"), "it is not valid JSON at 2:17 (line:column)"),
        (
            format!("{{\"auths\": {{\"a.example\": {{\"auth\": \"{secret}\""),
            "the JSON ends too early at 1:55 (line:column)",
        ),
        (format!("\"{PASSWORD}\""), "it is not a JSON object"),
        (format!(r#"{{"auths": "{PASSWORD}"}}"#), "\"auths\" is not an object"),
        (
            format!(r#"{{"auths": {{"a.example": "{PASSWORD}"}}}}"#),
            "the entry of \"a.example\" is not an object",
        ),
        (
            format!(r#"{{"auths": {{"https://me:{PASSWORD}@a.example/": {{"auth": "{PASSWORD}"}}}}}}"#),
            "the entry of \"a.example\" has an auth that is not base64: log in again",
        ),
        (
            format!(r#"{{"auths": {{"a.example": {{"auth": "{}"}}}}}}"#, STANDARD.encode(PASSWORD)),
            "the entry of \"a.example\" has an auth without a colon: log in again",
        ),
        (
            r#"{"auths": {"a.example": {"auth": 5}}}"#.to_owned(),
            "the entry of \"a.example\" has a field \"auth\" that is no string",
        ),
        (
            r#"{"auths": {"a.example": {"registrytoken": "t"}}}"#.to_owned(),
            "the entry of \"a.example\" has only a registrytoken, which cannot be used: log in again",
        ),
        (r#"{"credsStore": ["a"]}"#.to_owned(), "\"credsStore\" is not a string"),
        (
            r#"{"credsStore": "../evil"}"#.to_owned(),
            "the name of a credential helper has a slash or zero byte",
        ),
    ];
    for (config, text) in cases {
        let root = home_of(&config);
        let path = root.path().join("home/.docker/config.json");
        assert_eq!(text_of(of(&root).get("a.example", "x")), format!("{} is wrong: {text}", path.display()));
    }
}

#[test]
fn helpers_are_asked_for_their_registries() {
    let root =
        home_of(r#"{"auths": {"a.example": {}}, "credsStore": "all", "credHelpers": {"b.example": "one"}}"#);
    helper(
        &root,
        "all",
        r#"read server; [ "$1" = get ] && echo "{\"ServerURL\":\"$server\",\"Username\":\"all $server\",\"Secret\":\"x\"}""#,
    );
    helper(&root, "one", r#"echo '{"Username":"<token>","Secret":"refresh"}'"#);
    let credentials = of(&root);
    assert_eq!(user(&credentials, "a.example", "x"), "all a.example");
    assert_eq!(user(&credentials, "docker.io", "x"), "all https://index.docker.io/v1/");
    assert_eq!(credentials.get("b.example", "x").unwrap(), Credential::IdentityToken(Secret::new("refresh")));
}

#[test]
fn a_helper_is_asked_once_for_all_clones() {
    let root = home_of(r#"{"credsStore": "count"}"#);
    let count = root.path().join("count");
    helper(
        &root,
        "count",
        &format!("echo x >> {}; echo '{{\"Username\":\"u\",\"Secret\":\"s\"}}'", count.display()),
    );
    let credentials = of(&root);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(user(&credentials.clone(), "a.example", "x"), "u"));
        }
    });
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
}

#[test]
fn a_helper_without_an_answer_is_no_error() {
    let root = home_of(r#"{"credsStore": "none"}"#);
    helper(&root, "none", "echo credentials not found in native keychain; exit 1");
    assert_eq!(of(&root).get("a.example", "x").unwrap(), Credential::Anonymous);
}

#[test]
fn failures_of_helpers_are_told_without_secrets() {
    let root = home_of(r#"{"credsStore": "bad"}"#);
    let path = root.path().join("home/.docker/config.json");
    let prefix = "credential helper docker-credential-bad failed:";
    let missing = format!("{prefix} it is not in $PATH: install it, or take it out of {}", path.display());
    assert_eq!(text_of(of(&root).get("a.example", "x")), missing);
    let cases = [
        ("echo the keychain is locked; echo more; exit 3", "the keychain is locked (exit status: 3)"),
        ("echo no bus >&2; exit 1", "no bus (exit status: 1)"),
        ("echo '{\"Secret\":\"hunter2-Zq\"}'; exit 1", "exit status: 1"),
        ("echo hunter2-Zq", "its answer is not JSON"),
        ("kill -9 $$", "signal: 9 (SIGKILL)"),
    ];
    for (script, text) in cases {
        helper(&root, "bad", script);
        assert_eq!(text_of(of(&root).get("a.example", "x")), format!("{prefix} {text}"));
    }
}

#[test]
fn a_helper_that_hangs_or_babbles_is_ended() {
    let root = home_of(r#"{"credsStore": "slow"}"#);
    let slow = |script: &str| {
        helper(&root, "slow", script);
        let mut inner = std::sync::Arc::into_inner(of(&root).inner).unwrap();
        inner.helper_time_max = Duration::from_millis(300);
        let credentials = Credentials { inner: std::sync::Arc::new(Inner { ..inner }) };
        text_of(credentials.get("a.example", "x"))
    };
    let text = "credential helper docker-credential-slow failed: it gave no answer in 0 seconds";
    assert_eq!(slow("exec sleep 100"), text);
    assert_eq!(slow("sleep 3 &"), text, "something that it left behind holds its output open");
    assert!(slow("exec cat /dev/zero").starts_with("credential helper docker-credential-slow failed:"));
}

#[test]
fn files_that_others_may_read_are_told() {
    let root = home_of(&format!(r#"{{"auths": {{"a.example": {{"auth": "{}"}}}}}}"#, auth("me")));
    let path = root.path().join("home/.docker/config.json");
    assert_eq!(of(&root).readable_by_others().unwrap(), []);
    mode(&path, 0o644);
    let told = of(&root).readable_by_others().unwrap();
    let text = format!(
        "{} holds passwords and has mode 0644: make it readable by you alone with chmod 600",
        path.display()
    );
    assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
    fs::write(&path, r#"{"auths": {"a.example": {}}, "credsStore": "x"}"#).unwrap();
    assert_eq!(of(&root).readable_by_others().unwrap(), [], "no secret, no warning");
}

#[test]
fn login_keeps_the_rest_of_the_file() {
    let root = home_of(
        "{\"zebra\": 1, \"auths\": {\"z.example\": {\"auth\": \"x\"}, \"http://a.example/\": {\"auth\": \"old\", \"email\": \"e\"}}, \"HttpHeaders\": {\"b\": [1.50]}}",
    );
    let path = root.path().join("home/.docker/config.json");
    mode(&path, 0o644);
    let kept = of(&root).login("https://a.example", "me", &Secret::new("p"), None).unwrap();
    assert_eq!(kept, Kept::File(path.clone()));
    let wanted = "{\n\t\"zebra\": 1,\n\t\"auths\": {\n\t\t\"z.example\": {\n\t\t\t\"auth\": \"x\"\n\t\t},\n\t\t\"a.example\": {\n\t\t\t\"auth\": \"bWU6cA==\"\n\t\t}\n\t},\n\t\"HttpHeaders\": {\n\t\t\"b\": [\n\t\t\t1.5\n\t\t]\n\t}\n}";
    assert_eq!(fs::read_to_string(&path).unwrap(), wanted);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    assert_eq!(of(&root).get("a.example", "x").unwrap(), basic("me", "p"));
}

#[test]
fn login_makes_the_file_and_logout_forgets() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("home/.docker/config.json");
    let kept = of(&root).login("docker.io", "me", &Secret::new(PASSWORD), None).unwrap();
    assert_eq!(kept.to_string(), path.display().to_string());
    assert!(fs::read_to_string(&path).unwrap().contains("\"https://index.docker.io/v1/\": {"));
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    of(&root).login("a.example", "me", &Secret::new(PASSWORD), Some(&Secret::new("token"))).unwrap();
    assert_eq!(of(&root).get("a.example", "x").unwrap(), Credential::IdentityToken(Secret::new("token")));
    assert_eq!(user(&of(&root), "docker.io", "x"), "me");

    let forgotten = of(&root).logout("index.docker.io").unwrap();
    assert_eq!((forgotten.from, forgotten.others_remain), (vec![Kept::File(path)], false));
    assert_eq!(user(&of(&root), "docker.io", "x"), "-");
    assert_eq!(user(&of(&root), "a.example", "x"), "token");
    assert_eq!(of(&root).logout("docker.io").unwrap(), super::Forgotten::default());
}

#[test]
fn logout_tells_of_other_files() {
    let root = home_of("{}");
    let other = root.path().join("home/.config/containers/auth.json");
    write(&other, &format!(r#"{{"auths": {{"a.example": {{"auth": "{}"}}}}}}"#, auth("me")));
    let forgotten = of(&root).logout("a.example").unwrap();
    assert!(forgotten.from.is_empty() && forgotten.others_remain);
}

#[test]
fn login_and_logout_use_helpers() {
    let root = home_of(r#"{"credHelpers": {"a.example": "keep"}, "credsStore": "keep"}"#);
    let log = root.path().join("log");
    helper(&root, "keep", &format!("(echo $1; cat; echo) >> {}", log.display()));
    let login = |registry: &str, token: Option<&Secret>| {
        of(&root).login(registry, "me", &Secret::new("p\"w"), token).unwrap()
    };
    let kept = Kept::Helper("docker-credential-keep".to_owned());
    assert_eq!(login("a.example", None), kept);
    assert_eq!(login("docker.io", Some(&Secret::new("t"))), kept);
    assert_eq!(of(&root).logout("a.example").unwrap().from, [kept]);
    let wanted = "store\n{\"ServerURL\":\"a.example\",\"Username\":\"me\",\"Secret\":\"p\\\"w\"}\n\
                  store\n{\"ServerURL\":\"https://index.docker.io/v1/\",\"Username\":\"<token>\",\"Secret\":\"t\"}\n\
                  erase\na.example\n";
    assert_eq!(fs::read_to_string(log).unwrap(), wanted);
    let file = fs::read_to_string(root.path().join("home/.docker/config.json")).unwrap();
    let wanted = "{\n\t\"credHelpers\": {\n\t\t\"a.example\": \"keep\"\n\t},\n\t\"credsStore\": \"keep\",\n\t\"auths\": {\n\t\t\"https://index.docker.io/v1/\": {}\n\t}\n}";
    assert_eq!(file, wanted);
}

#[test]
fn login_follows_links_and_podmans_file_has_podmans_keys() {
    let root = tempfile::tempdir().unwrap();
    let (real, link) = (root.path().join("real.json"), root.path().join("link.json"));
    write(&real, "");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let variables = [("REGISTRY_AUTH_FILE", link.to_str().unwrap())];
    let credentials = Credentials::load(&environment::of(&variables, root.path()));
    credentials.login("docker.io", "me", &Secret::new("p"), None).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("\"docker.io\": {"));
}

#[test]
fn without_a_home_nothing_is_found_and_nothing_kept() {
    let root = tempfile::tempdir().unwrap();
    let environment = crate::Environment::new(|_| None, None, 0).with_root(root.path());
    let credentials = Credentials::load(&environment);
    assert_eq!(credentials.get("a.example", "x").unwrap(), Credential::Anonymous);
    let error = credentials.login("a.example", "me", &Secret::new("p"), None).unwrap_err();
    let text = "the place for credentials is wrong: there is no home directory: set DOCKER_CONFIG or REGISTRY_AUTH_FILE";
    assert_eq!(error.to_string(), text);
}

#[test]
fn debug_shows_no_secret() {
    let content = format!(r#"{{"auths": {{"a.example": {{"auth": "{}"}}}}}}"#, auth("me"));
    let root = tempfile::tempdir().unwrap();
    let credentials = Credentials::load(&environment::of(&[("DOCKER_AUTH_CONFIG", &content)], root.path()));
    let credential = credentials.get("a.example", "x").unwrap();
    let shown = format!("{credentials:?} {credential:?}");
    assert!(shown.contains("me") && !shown.contains(PASSWORD) && !shown.contains(&auth("me")), "{shown}");
}

proptest! {
    #[test]
    fn foreign_files_never_panic_nor_leak(
        key in "(https?://)?[a-z.@:/]{0,12}",
        field in "auth|identitytoken|username|password|registrytoken",
        value in "[A-Za-z0-9+/=:]{0,12}|\\PC{0,6}",
        cut in 0_usize..200,
        registry in "[a-z.:]{0,6}",
    ) {
        let json = serde_json::json!({ "auths": { &key: { &field: &value, "x": PASSWORD } }, "credHelpers": { &key: 1 } });
        let text = json.to_string();
        let bytes = &text.as_bytes()[..cut.min(text.len())];
        for bytes in [bytes, text.as_bytes()] {
            let result = AuthFile::parse(Path::new("/f"), bytes).and_then(|file| file.find(&registry, "a/b").map(|_| ()));
            if let Err(error) = result {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains(PASSWORD));
            }
        }
    }

    #[test]
    fn what_login_writes_is_what_get_reads(user in "[^:\\x00]{1,12}", password in "[^\\x00]{1,20}", host in "[a-z]{1,6}\\.[a-z]{1,3}(:[0-9]{1,4})?") {
        let root = tempfile::tempdir().unwrap();
        of(&root).login(&host, &user, &Secret::new(password.clone()), None).unwrap();
        prop_assert_eq!(of(&root).get(&host, "x/y").unwrap(), basic(&user, &password));
    }

    #[test]
    fn keys_are_normalized_once_and_for_all(key in "\\PC{0,20}") {
        let once = key::normalize(&key);
        prop_assert_eq!(key::normalize(&once), once);
    }
}
