//! What a reference is at its remote now.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::process::{getegid, geteuid};

use galley_store::Seen;

use super::program::{Failed, Git, Login, OTHER_MACHINES};
use crate::{
    Error, ErrorKind,
    remote::{
        GitAddress, Remote,
        address::{is_commit, redacted},
        unseen,
        url::{Url, unescape},
    },
    ssh::{Loan, Owner, SshAgent},
};

/// A commit that an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its digits.
    pub commit: String,
    /// What the reference leads to: the commit, or the annotated tag of it.
    pub object: String,
    /// The reference in full, `refs/heads/main`; the commit when the address names it.
    pub reference: String,
    /// What that was called in the address; the short name of the default branch when it was not.
    pub called: String,
}

impl Remote<'_> {
    /// The commit that `address` means now. When it says so itself, nobody is asked.
    pub fn resolve(&self, address: &GitAddress) -> Result<Commit, Error> {
        address.check().map_err(|error| Error::new(ErrorKind::Input, error.to_string()))?;
        if let Some(commit) = address.commit() {
            return Ok(Commit::named(address, commit));
        }
        let name = format!("git {} {}", address.remote, address.reference.as_deref().unwrap_or_default());
        let found = match self.remembered(&name)? {
            Some((seen, true)) => of_seen(address, seen),
            _ if self.remotes.offline => return Err(self.forbidden(&address.shown())),
            _ => {
                let found = self.ask(address)?;
                self.remember(&name, to_seen(&found))?;
                found
            }
        };
        if let Some(wanted) = &address.checksum
            && !found.commit.starts_with(wanted.as_str())
            && !found.object.starts_with(wanted.as_str())
        {
            let message = format!("{} is another commit than it must be", address.shown());
            return Err(Error::new(ErrorKind::Input, message)
                .help(format!("it must be {wanted}, and it is {}", found.commit))
                .help("if the change is known and wanted, write the new commit"));
        }
        Ok(found)
    }

    /// How git is run for `address`.
    pub(super) fn git(&self, address: &GitAddress) -> Result<Git<'_>, Error> {
        let (settings, stop) = (self.remotes.git, self.stop);
        let (remote, login) = without_password(&address.remote);
        let header = self.header(&remote)?;
        let loan = match &settings.ssh {
            Some(agent @ SshAgent::Keys(_)) if is_ssh(&address.remote) => {
                let owner = Owner { mode: 0o600, uid: geteuid().as_raw(), gid: getegid().as_raw() };
                Some(Arc::new(Loan::new(self.store, agent, owner)?))
            }
            _ => None,
        };
        let (git_dir, work_tree, protocols) = (None, None, OTHER_MACHINES);
        Ok(Git { settings, stop, header, login, git_dir, work_tree, loan, protocols })
    }

    /// `GIT_AUTH_HEADER` or `GIT_AUTH_TOKEN`, those of the host first.
    fn header(&self, remote: &str) -> Result<Option<(String, String)>, Error> {
        let Ok(url) = Url::parse(remote) else { return Ok(None) };
        if !matches!(url.scheme.as_str(), "http" | "https") {
            return Ok(None);
        }
        let host = &url.host;
        let ids = [
            (format!("GIT_AUTH_HEADER.{host}"), false),
            (format!("GIT_AUTH_TOKEN.{host}"), true),
            ("GIT_AUTH_HEADER".to_owned(), false),
            ("GIT_AUTH_TOKEN".to_owned(), true),
        ];
        let found = ids.into_iter().find_map(|(id, token)| Some((self.secret(&id)?, id, token)));
        let Some((value, id, is_token)) = found else { return Ok(None) };
        let value = value.trim_ascii();
        if value.iter().any(|byte| !(b' '..=b'~').contains(byte)) {
            let message = format!("the secret {id} has characters that no HTTP header may have");
            return Err(Error::new(ErrorKind::Usage, message).help("it must be one line of plain text"));
        }
        let value = match is_token {
            true => format!("basic {}", STANDARD.encode([b"x-access-token:", value].concat())),
            false => String::from_utf8_lossy(value).into_owned(),
        };
        Ok(Some((format!("http.{}.extraHeader", scope(remote)), format!("Authorization: {value}"))))
    }

    fn ask(&self, address: &GitAddress) -> Result<Commit, Error> {
        let git = self.git(address)?;
        let (remote, _) = without_password(&address.remote);
        let failed = |failed| failure(address, "cannot ask", failed);
        let Some(reference) = &address.reference else {
            let listed = git.run(&["ls-remote", "--symref", "--", &remote, "HEAD"]).map_err(failed)?;
            return default_branch(&String::from_utf8_lossy(&listed)).ok_or_else(|| {
                let message = format!("{} has no default branch", address.shown());
                Error::new(ErrorKind::NotFound, message)
                    .help("name a branch, tag or commit: REPOSITORY#BRANCH")
            });
        };
        let peeled = format!("{reference}^{{}}");
        let listed = git.run(&["ls-remote", "--", &remote, reference, &peeled]).map_err(failed)?;
        find(reference, &String::from_utf8_lossy(&listed)).ok_or_else(|| {
            let message = format!("{} has no branch or tag `{reference}`", redacted(&address.remote));
            let error = Error::new(ErrorKind::NotFound, message);
            match reference.len() >= 7 && reference.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                true => error.help("a commit is asked for with all of its 40 digits"),
                false => error,
            }
        })
    }
}

/// `ssh://…` and `user@host:path`.
fn is_ssh(remote: &str) -> bool {
    crate::remote::url::scheme(remote).is_none_or(|scheme| scheme == "ssh")
}

/// The address as programs are given it, and the user and password that it names: arguments are no secret.
pub(super) fn without_password(remote: &str) -> (String, Option<Login>) {
    let as_it_is = || (remote.to_owned(), None);
    let Ok(url) = Url::parse(remote) else { return as_it_is() };
    let (Some(written), "http" | "https") = (&url.user, url.scheme.as_str()) else { return as_it_is() };
    // What is no line of text git refuses.
    let text =
        |part| String::from_utf8(unescape(part)?).ok().filter(|text| !text.contains(['\0', '\r', '\n']));
    let parts = written.split_once(':').and_then(|(user, password)| Some((text(user)?, text(password)?)));
    let Some((user, password)) = parts else { return as_it_is() };
    let plain = remote.replacen(&format!("{written}@"), "", 1);
    let folder = plain.rsplit_once('/').map_or("", |(folder, _)| folder);
    let login = Login { folder: format!("{folder}/"), user, password };
    (plain, Some(login))
}

/// Where a token may be sent. One for GitHub is good for all of GitHub, as in BuildKit.
fn scope(remote: &str) -> &str {
    let hubs = ["https://github.com/", "https://www.github.com/"];
    hubs.into_iter().find(|hub| remote.starts_with(hub)).unwrap_or(remote)
}

impl Commit {
    /// The commit `commit`, which `address` means without anybody being asked.
    pub(in crate::remote) fn named(address: &GitAddress, commit: &str) -> Self {
        let called = address.reference.clone().unwrap_or_else(|| commit.to_owned());
        let reference = match called.as_str() {
            name if is_commit(name) || name.starts_with("refs/") => name.to_owned(),
            name => format!("refs/heads/{name}"),
        };
        Self { commit: commit.to_owned(), object: commit.to_owned(), reference, called }
    }
}

fn to_seen(found: &Commit) -> Seen {
    let reference = Some((found.reference.clone(), found.object.clone()));
    Seen { reference, ..unseen(found.commit.clone()) }
}

fn of_seen(address: &GitAddress, seen: Seen) -> Commit {
    let commit = seen.content;
    let (reference, object) = seen.reference.unwrap_or_else(|| (commit.clone(), commit.clone()));
    let called = address.reference.clone().unwrap_or_else(|| short(&reference));
    Commit { commit, object, reference, called }
}

fn short(reference: &str) -> String {
    reference.strip_prefix("refs/heads/").unwrap_or(reference).to_owned()
}

/// The lines `ref: refs/heads/main<tab>HEAD` and `<commit><tab>HEAD`.
fn default_branch(listed: &str) -> Option<Commit> {
    let lines =
        || listed.lines().filter_map(|line| line.split_once('\t')).filter(|(_, name)| *name == "HEAD");
    let reference = lines().find_map(|(value, _)| value.strip_prefix("ref: "))?;
    let commit = lines().map(|(value, _)| value).find(|value| is_commit(value))?;
    let safe = reference.starts_with("refs/heads/") && !reference.contains(char::is_whitespace);
    let commit = commit.to_owned();
    safe.then(|| Commit {
        object: commit.clone(),
        commit,
        reference: reference.to_owned(),
        called: short(reference),
    })
}

/// What `reference` is among the listed ones: exactly that, else a branch, else a tag.
fn find(reference: &str, listed: &str) -> Option<Commit> {
    let lines = || listed.lines().filter_map(|line| line.split_once('\t'));
    let get = |name: &str| {
        let found = lines().find(|(_, known)| *known == name);
        found.map(|(object, _)| object.to_owned()).filter(|object| is_commit(object))
    };
    let under = |folder: &str| format!("{folder}{}", reference.strip_prefix(folder).unwrap_or(reference));
    let names = [under("refs/"), under("refs/heads/"), under("refs/tags/")];
    let (name, object) = names.into_iter().find_map(|name| get(&name).map(|object| (name, object)))?;
    // An annotated tag is an object of its own.
    let commit = get(&format!("{name}^{{}}")).unwrap_or_else(|| object.clone());
    Some(Commit { commit, object, reference: name, called: reference.to_owned() })
}

/// A failure of git as the person sees it.
pub(super) fn failure(address: &GitAddress, doing: &str, failed: Failed) -> Error {
    let complaint = match failed {
        Failed::Error(error) => return error,
        Failed::Complaint(complaint) => complaint,
    };
    let said = reason(&complaint).replace(&address.remote, &redacted(&address.remote));
    let error = Error::new(ErrorKind::Registry, format!("{doing} {}: git says: {said}", address.shown()));
    advise(error, &complaint)
}

/// The line of what git complains of that says why: its first fatal one, after which comes what else did not work then, or
/// what ssh said before that.
fn reason(complaint: &str) -> &str {
    let said: Vec<&str> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let fatal = said.iter().position(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let hidden = |at: &usize| said[*at].starts_with("fatal: Could not read from remote repository");
    let before = fatal.filter(hidden).and_then(|at| at.checked_sub(1));
    before.or(fatal).map_or_else(|| said.last().copied().unwrap_or("nothing"), |at| said[at])
}

fn advise(error: Error, complaint: &str) -> Error {
    let says = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    if says(&["No space left on device"]) {
        return error.because(std::io::Error::from(std::io::ErrorKind::StorageFull));
    }
    if says(&["' not allowed"]) {
        return error.help(
            "submodules come from other machines alone, by http, https, ssh or git; ?submodules=false at the address \
             leaves them out",
        );
    }
    if says(&["returned error: 30"]) {
        return error.help(
            "its server says that it is elsewhere, and a token is not sent on: write the address that it has now",
        );
    }
    if says(&["could not read Username", "Authentication failed", "403", "401"]) {
        return error.help("if it needs a token, give one with --secret id=GIT_AUTH_TOKEN,env=NAME");
    }
    if says(&["Permission denied (publickey", "Host key verification failed"]) {
        return error
            .help("ssh asks the agent that --ssh default gives, and the known_hosts of this machine");
    }
    if says(&["cannot run ssh", "ssh: not found"]) {
        return error.help("install an ssh client, or write the https address of the repository");
    }
    error
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What git prints is a server's: it is a commit and a safe reference, or none.
        #[test]
        fn nothing_that_a_server_lists_is_believed(
            lines in prop::collection::vec("(ref: )?(refs/(heads|tags)/[-a ^{}]{0,4}|a{39,41}|\\PC{0,4})\t?(HEAD|refs/(heads|tags)/[-a^{}]{0,4})?", 0..5),
            reference in "[-a/]{1,3}",
        ) {
            let listed = lines.join("\n");
            let found = [default_branch(&listed), find(&reference, &listed)];
            for found in found.into_iter().flatten() {
                prop_assert!(is_commit(&found.commit) && is_commit(&found.object));
                prop_assert!(found.reference.starts_with("refs/"));
            }
            let _ = reason(&listed);
        }
    }

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn programs_are_given_no_password() {
        for (remote, plain, login) in [
            ("https://me:p%40w@h:8/t/r.git", "https://h:8/t/r.git", Some(("https://h:8/t/", "me", "p@w"))),
            ("http://me:@h/r.git", "http://h/r.git", Some(("http://h/", "me", ""))),
            ("https://me@h/r.git", "https://me@h/r.git", None),
            ("https://h/r.git", "https://h/r.git", None),
            ("https://me:a%0ab@h/r.git", "https://me:a%0ab@h/r.git", None),
            ("ssh://git:pw@h/r.git", "ssh://git:pw@h/r.git", None),
            ("git@h:r.git", "git@h:r.git", None),
        ] {
            let login = login.map(|(folder, user, password)| Login {
                folder: folder.to_owned(),
                user: user.to_owned(),
                password: password.to_owned(),
            });
            assert_eq!(without_password(remote), (plain.to_owned(), login), "{remote}");
        }
    }

    #[test]
    fn branches_come_before_tags() {
        let listed = format!(
            "{A}\trefs/heads/x/v1\n{A}\trefs/heads/v1\n{B}\trefs/tags/v1\n{A}\trefs/tags/v2\n{B}\trefs/tags/v2^{{}}\n\
             {A}\trefs/pull/7/head\nno line\n"
        );
        let found = |reference: &str| {
            find(reference, &listed).map(|found| (found.reference, found.object, found.commit))
        };
        let wanted = |name: &str, object: &str, commit: &str| {
            Some((name.to_owned(), object.to_owned(), commit.to_owned()))
        };
        assert_eq!(found("v1"), wanted("refs/heads/v1", A, A));
        assert_eq!(found("refs/tags/v1"), wanted("refs/tags/v1", B, B));
        assert_eq!(found("tags/v1"), wanted("refs/tags/v1", B, B));
        assert_eq!(found("v2"), wanted("refs/tags/v2", A, B));
        assert_eq!(found("pull/7/head"), wanted("refs/pull/7/head", A, A));
        assert_eq!(found("v3"), None);
    }

    #[test]
    fn the_line_that_says_why() {
        let remote = "fatal: Could not read from remote repository.\n\nPlease make sure that it exists.\n";
        assert_eq!(reason("warning: a\nfatal: no such thing\nhint: b"), "fatal: no such thing");
        let ssh = "ssh: connect to host h port 22: Connection refused\r\n";
        assert_eq!(reason(&format!("{ssh}{remote}")), ssh.trim());
        assert_eq!(reason(remote), "fatal: Could not read from remote repository.");
        assert_eq!((reason("one\ntwo\n"), reason(" \n")), ("two", "nothing"));
    }

    #[test]
    fn the_default_branch() {
        let found = default_branch(&format!("ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n")).unwrap();
        assert_eq!((found.commit.as_str(), found.called.as_str()), (A, "trunk"));
        assert_eq!(default_branch(&format!("{A}\tHEAD\n")), None);
        assert_eq!(default_branch(&format!("ref: -u\tHEAD\n{A}\tHEAD\n")), None);
    }

    #[test]
    fn the_first_complaint_is_the_reason() {
        let address = crate::remote::Address::parse("http://me:pa55@h/a.git").unwrap();
        let Some(crate::remote::Address::Git(address)) = address else { unreachable!() };
        let told = |complaint: &str| {
            let error = failure(&address, "cannot fetch", Failed::Complaint(complaint.to_owned()));
            let said = error.message.rsplit("git says: ").next().unwrap().to_owned();
            (said, error.help.first().cloned().unwrap_or_default(), error.source.is_some())
        };
        let (said, help, _) = told(
            "Cloning into 'a'...\nfatal: transport 'file' not allowed\nfatal: clone of 'file:///r' failed\n",
        );
        assert_eq!(said, "fatal: transport 'file' not allowed");
        assert!(help.contains("?submodules=false"), "{help}");
        let (said, _, because) =
            told("error: unable to write file f: No space left on device\nfatal: unpack-objects failed\n");
        assert!(said.starts_with("error: unable to write file f") && because, "{said}");
        let (said, ..) = told("fatal: unable to access 'http://me:pa55@h/a.git/': it is gone\n");
        assert_eq!(said, "fatal: unable to access 'http://xxxxx:xxxxx@h/a.git/': it is gone");
    }

    #[test]
    fn tokens_are_for_one_place() {
        assert_eq!(scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(scope("https://github.community/a.git"), "https://github.community/a.git");
    }
}
