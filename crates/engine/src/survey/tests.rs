//! What a survey says of small directories.

use fs_err as fs;
use galley_oci::{Platform, Reference};

use super::*;
use crate::{context, ports::BaseImage};

struct NoImages;

impl ImageSource for NoImages {
    fn resolve(&self, _: &Reference, _: &Platform) -> Result<Option<BaseImage>, Error> {
        Ok(None)
    }
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// The survey of a folder, with what the Dockerfile in it uses.
fn look(folder: &Path, target: Option<&str>) -> Survey {
    let dockerfile = context::read_dockerfile(folder, None).unwrap();
    let main = context::main_context(folder, Some(&dockerfile.path)).unwrap();
    let mut survey = survey(&main, Some(&dockerfile.path), Path::new("/nowhere")).unwrap();
    let mut options = PlanOptions::new("Dockerfile", dockerfile.text, main, Platform::new("linux", "amd64"));
    options.target = target.map(str::to_owned);
    survey.find_use(&options, &NoImages);
    survey
}

/// `path +|- line of the rule, lines of the instructions`
fn lines(survey: &Survey) -> Vec<String> {
    let line = |item: &Item| {
        let sign = if item.kept { '+' } else { '-' };
        let rule = item.rule.map(|rule| format!(" rule {}", survey.rules[rule].line)).unwrap_or_default();
        let used = item.used.iter().map(|used| &survey.instructions.as_ref().unwrap()[*used].place);
        let used: Vec<_> = used.map(|place| place.trim_start_matches("Dockerfile:")).collect();
        let used = if used.is_empty() { String::new() } else { format!(" used {}", used.join(",")) };
        let own = if item.own { " own" } else { "" };
        format!("{sign}{}{rule}{used}{own}", String::from_utf8_lossy(&item.path))
    };
    survey.items.iter().map(line).collect()
}

#[test]
fn each_file_has_its_rule_and_its_use() {
    let files = folder(&[
        (
            "Dockerfile",
            "FROM scratch AS a\nCOPY *.txt src/ /\nFROM scratch\nCOPY --from=a / /\nADD --exclude=x d /d\n\
             RUN --mount=target=/m,source=link/in true\n",
        ),
        (".dockerignore", "# all\nnode\n*.md\n!README.md\nkeep/*\n!keep/this\nnothing\n"),
        ("a.txt", "1"),
        ("b.txt", "22"),
        ("node/a/b", "333"),
        ("node/c", "4444"),
        ("x.md", ""),
        ("README.md", ""),
        ("keep/this", ""),
        ("keep/that", ""),
        ("src/main.c", "55555"),
        ("d/x", ""),
        ("d/y", ""),
        ("real/in/f", ""),
        ("other", ""),
    ]);
    fs_err::os::unix::fs::symlink("real", files.path().join("link")).unwrap();
    fs::create_dir(files.path().join("empty")).unwrap();
    let survey = look(files.path(), None);
    assert_eq!(
        lines(&survey),
        [
            "+.dockerignore own",
            "+Dockerfile own",
            "+README.md rule 4",
            "+a.txt used 2",
            "+b.txt used 2",
            "+d/x",
            "+d/y used 5",
            "+empty",
            "-keep/that rule 5",
            "+keep/this rule 6",
            "+link used 6",
            "-node rule 2",
            "+other",
            "+real/in/f used 6",
            "+src/main.c used 2",
            "-x.md rule 3",
        ]
    );
    let node = &survey.rules[0];
    assert_eq!((node.line, node.files, node.bytes), (2, 2, 7));
    assert_eq!(
        survey.rules.last().map(|rule| (rule.files, rule.text.as_slice())),
        Some((0, &b"nothing"[..]))
    );
    assert_eq!(survey.sum(|item| survey.is_unused(item)), (4, 0));
    let instructions = survey.instructions.as_ref().unwrap();
    assert_eq!(
        (instructions[0].text.as_str(), instructions[0].files, instructions[0].bytes),
        ("COPY *.txt src/ /", 3, 8)
    );
    let first = look(files.path(), Some("a"));
    assert!(first.is_unused(first.items.iter().find(|item| item.path == b"d/y").unwrap()));
}

#[test]
fn what_cannot_be_told_is_a_note() {
    let files = folder(&[("Dockerfile", "FROM nowhere\nCOPY . .\n"), ("f", "")]);
    let survey = look(files.path(), None);
    assert_eq!(survey.instructions, None);
    assert_eq!(survey.sum(|item| survey.is_unused(item)), (0, 0));
    assert!(
        survey.notes[0].starts_with("cannot tell what is used: Dockerfile:1:6: image `nowhere`"),
        "{:?}",
        survey.notes
    );
}

#[test]
fn the_store_is_no_part_of_its_context() {
    let files = folder(&[("Dockerfile", "FROM scratch\n"), ("store/blob", "x")]);
    let main = context::main_context(files.path(), None).unwrap();
    let survey = survey(&main, None, &files.path().join("store")).unwrap();
    assert_eq!(lines(&survey), ["+Dockerfile"]);
    assert!(
        super::survey(&ContextSource { path: files.path().join("no"), ..main }, None, Path::new("/x"))
            .is_err()
    );
}

/// Each row: path, content, and whether it is suspected.
#[test]
fn secrets_by_name_and_content() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nx";
    let kube = "kind: Config\nclusters: []\nusers:\n- user:\n    client-key-data: abc\n";
    let rows = [
        (".env", "A=1", true),
        ("app/.env.production", "A=1", true),
        (".env.example", "A=1", false),
        (".env", "\n", false),
        (".ssh/id_ed25519", "x", true),
        ("id_ed25519.pub", "ssh-ed25519 x", false),
        ("tls/server.pem", key, true),
        ("tls/server.pem", "-----BEGIN CERTIFICATE-----", false),
        ("DEPLOY_KEY", key, true),
        (".npmrc", "//registry.npmjs.org/:_authToken=npm_x", true),
        (".npmrc", "//registry.npmjs.org/:_authToken=${NPM_TOKEN}", false),
        (".npmrc", "save-exact=true", false),
        (".netrc", "machine a login b password c", true),
        (".netrc", "machine a login b", false),
        (".aws/credentials", "[default]", true),
        ("credentials", "[default]", false),
        (".docker/config.json", r#"{"auths": {"a": {"auth": "eA=="}}}"#, true),
        (".docker/config.json", r#"{"credsStore": "pass"}"#, false),
        (".git/config", "url = https://me:secret@host/x.git", true),
        (".git/config", "url = https://host/x.git\nurl = git@host:x.git", false),
        ("deploy/kubeconfig", kube, true),
        ("k8s/app.yaml", "kind: Deployment\ntoken: x", false),
        ("sa.json", r#"{"type": "service_account", "private_key": "x"}"#, true),
        ("package.json", r#"{"private": true}"#, false),
        (".pypirc", "[pypi]\npassword = x", true),
        ("keys.p12", "x", true),
    ];
    for (path, content, expected) in rows {
        let files = folder(&[(path, content)]);
        let found = secrets::suspect(files.path(), path.as_bytes());
        assert_eq!(found.is_some(), expected, "{path}: {content:?} {found:?}");
    }
}

proptest::proptest! {
    #[test]
    fn looking_for_secrets_never_panics(
        name in proptest::sample::select(vec![".env", "a.pem", ".npmrc", ".netrc", ".git/config", "x.yaml", "x.json", ".pypirc"]),
        content in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        let _ = secrets::suspect(folder.path(), name.as_bytes());
    }
}
