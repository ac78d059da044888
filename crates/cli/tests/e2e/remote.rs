//! ADD of URLs and git repositories, from servers of this machine.

mod git;
mod http;

use std::path::Path;

use fs_err as fs;
use galley_oci::Digest;
use galley_testkit::web::{Page, Web};

use super::{Kitchen, text};

/// What ADD of the page at `/a` makes.
fn kitchen(web: &Web) -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /x\n", web.url("/a")));
    Some(kitchen)
}

fn statuses(web: &Web) -> Vec<u16> {
    web.asked().iter().map(|asked| asked.status).collect()
}

/// Makes the repository `plain.git` in `repositories/`, with the branches `main` and `side`; gives the commits of both.
fn repository(kitchen: &Kitchen) -> [String; 2] {
    let script = "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
        GIT_COMMITTER_EMAIL=a@b; umask 077; mkdir -p repositories; cd repositories; rm -rf plain plain.git; \
        git -c init.defaultBranch=main init -q plain; cd plain; date +%N > file; git add .; git commit -qm one; \
        git branch side; echo two > two; git add .; git commit -qm two; cd ..; \
        git clone -q --bare plain plain.git; git -C plain.git rev-parse main side";
    let output = kitchen.env.run("sh", &["-euc", script]);
    let mut lines = output.lines().map(str::to_owned);
    [lines.next().unwrap(), lines.next().unwrap()]
}

fn serve(kitchen: &Kitchen, web: &Web, authorization: Option<&str>) {
    web.git(&kitchen.env.work().join("repositories"), authorization);
}

#[test]
fn offline_names_what_was_never_asked() {
    let web = Web::start();
    web.put("/a", Page::new("one\n"));
    let Some(kitchen) = kitchen(&web) else { return };
    repository(&kitchen);
    serve(&kitchen, &web, None);
    let (code, said) = kitchen.build_fails(&["--offline", "."]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("Dockerfile:2:5") && said.contains("--offline forbids"), "{said}");
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /x\n", web.url("/git/plain.git")));
    let (code, said) = kitchen.build_fails(&["--offline", "."]);
    assert_eq!(code, Some(5), "{said}");
    assert_eq!(statuses(&web), [0; 0]);
    kitchen.build(&["-t", "x", "."]);
    assert!(!web.asked().is_empty());
    kitchen.build(&["-t", "x", "--offline", "."]);
    assert_eq!(statuses(&web), [0; 0]);
}

/// Whether `needle` is in a file below `folder`.
fn holds(folder: &Path, needle: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            return holds(&path, needle);
        }
        let content = fs::read(path).unwrap_or_default();
        content.windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn tokens_reach_their_server_and_nothing_else() {
    let (web, other) = (Web::start(), Web::start());
    let Some(kitchen) = kitchen(&web) else { return };
    repository(&kitchen);
    let basic = "eC1hY2Nlc3MtdG9rZW46czNjcmV0LXQwa2Vu";
    serve(&kitchen, &web, Some(&format!("basic {basic}")));
    web.put("/a", Page { authorization: Some("Bearer s3cret-t0ken".to_owned()), ..Page::new("a") });
    web.put("/moved", Page { status: 302, ..Page::new("") }.with("Location", &other.url("/b")));
    other.put("/b", Page::new("b"));
    let password = web.url("/pw").replace("http://", "http://me:pa55word@");
    web.put("/pw", Page { authorization: Some("Basic bWU6cGE1NXdvcmQ=".to_owned()), ..Page::new("p") });
    kitchen.env.write("part/Dockerfile", format!("FROM scratch\nADD {password} /p\n"));
    kitchen.dockerfile(&format!(
        "FROM scratch\nADD {} /a\nADD {} /m\nADD {} /g\nADD --keep-git-dir {} /k\n",
        web.url("/a"),
        web.url("/moved"),
        web.url("/git/plain.git#side"),
        web.url("/git/plain.git"),
    ));
    let mut command = kitchen.build_command(&[
        "--secret=id=HTTP_AUTH_TOKEN_127.0.0.1,env=TOKEN",
        "--secret=id=GIT_AUTH_TOKEN,env=TOKEN",
        "-t",
        "x",
        ".",
    ]);
    let output = command.env("TOKEN", "s3cret-t0ken").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(other.asked().iter().all(|asked| asked.header("authorization").is_none()));
    for secret in ["s3cret-t0ken", basic] {
        assert!(!text(&output).contains(secret), "{}", text(&output));
        assert!(!holds(&kitchen.env.store(), secret.as_bytes()), "{secret} is in the store");
    }
    // A password in the Dockerfile is in the history, as in Docker, but not in messages about the address.
    kitchen.build(&["-t", "y", "part"]);
    web.remove("/pw");
    let (_, said) = kitchen.build_fails(&["part"]);
    let about = said.lines().filter(|line| line.contains("cannot fetch") || line.contains("fetch http"));
    assert!(about.clone().count() > 0 && about.clone().all(|line| !line.contains("pa55word")), "{said}");

    kitchen.dockerfile(&format!("FROM scratch\nADD {} /g\n", web.url("/git/other.git")));
    let mut command = kitchen.build_command(&["--secret=id=GIT_AUTH_TOKEN,env=TOKEN", "."]);
    let output = command.env("TOKEN", "wr0ng-t0ken").output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("GIT_AUTH_TOKEN") && !said.contains("wr0ng-t0ken"), "{said}");
}

#[test]
fn a_lock_holds_addresses() {
    let web = Web::start();
    web.put("/a", Page::new("one\n").with("ETag", "\"1\""));
    let Some(kitchen) = Kitchen::new() else { return };
    let [main, _] = repository(&kitchen);
    serve(&kitchen, &web, None);
    let (file, git) = (web.url("/a"), web.url("/git/plain.git#main"));
    let sum = Digest::sha256(b"one\n");
    kitchen.dockerfile(&format!(
        "FROM scratch AS other\nADD {git}:. /g\nFROM scratch\nADD {file} /a\nADD --checksum={sum} {file} /b\n\
         COPY --from=other / /\n"
    ));
    let said = kitchen.galley(&["lock"]);
    assert!(said.contains(&format!("+ {file} {sum}")) && said.contains(&format!("+ {git} {main}")), "{said}");
    let lock = fs::read_to_string(kitchen.env.work().join("galley.lock")).unwrap();
    let wanted = format!(
        "[[url]]\nname = \"{file}\"\ndigest = \"{sum}\"\n\n[[git]]\nname = \"{git}\"\ncommit = \"{main}\"\n"
    );
    assert!(lock.ends_with(&wanted), "{lock}");
    kitchen.build(&["--locked", "-t", "x", "."]);
    assert!(kitchen.galley(&["lock"]).contains("nothing changed"));

    web.put("/a", Page::new("two\n").with("ETag", "\"2\""));
    let (code, said) = kitchen.build_fails(&["--locked", "."]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Dockerfile:4:5") && said.contains("galley lock --update"), "{said}");
    kitchen.build(&["--locked", "--offline", "-t", "x", "."]);
    kitchen.dockerfile(&format!("FROM scratch AS other\nADD {git}:. /g\nFROM other\nADD {file} /a\n"));
    assert!(kitchen.galley(&["lock", "--update", &file]).contains(&format!("~ {file} ")));
    let [moved, _] = repository(&kitchen);
    assert_ne!(moved, main);
    let (code, said) = kitchen.build_fails(&["--locked", "."]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Dockerfile:2:5") && said.contains(&main) && said.contains(&moved), "{said}");
    kitchen.galley(&["lock", "--update", "."]);
    kitchen.build(&["--locked", "-t", "x", "."]);
}
