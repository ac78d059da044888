//! The files of a commit.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_oci::Time;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

use super::{
    program::{Failed, Git, THIS_MACHINE},
    resolve::{Commit, failure, without_password},
};
use crate::{
    Error, ErrorKind,
    remote::{GitAddress, Remote, address::redacted},
    steps::files::store_error,
};

/// The longest path of folders in a work tree.
const DEPTH_MAX: usize = 512;

impl Remote<'_> {
    /// Writes the files of `commit` into the new directory `into`, whose parent must be on the same disk: owned by who runs
    /// this, files 0644 or 0755, folders 0755. When the commit was made comes back.
    pub fn check_out(&self, address: &GitAddress, commit: &Commit, into: &Path) -> Result<Time, Error> {
        if self.remotes.offline {
            return Err(self.forbidden(&address.shown()));
        }
        let temp = self.store.temp_dir("git").map_err(store_error)?;
        let job = Job {
            git: self.git(address)?,
            address,
            commit,
            bare: temp.path().join("repository"),
            tree: temp.path().join("tree"),
        };
        let time = job.run().map_err(|failed| failure(address, "cannot fetch", failed))?;
        let meant = job.subdir()?;
        let time_of_files = address.commit_times.then_some(time);
        conform(&meant, time_of_files, 0).map_err(|error| broken(&meant, &error))?;
        fs::rename(&meant, into).map_err(|error| broken(into, &error))?;
        Ok(time)
    }
}

fn broken(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Store, format!("cannot keep what git wrote in {}: {error}", path.display()))
}

/// One checkout.
struct Job<'a> {
    git: Git<'a>,
    address: &'a GitAddress,
    commit: &'a Commit,
    bare: PathBuf,
    tree: PathBuf,
}

impl Job<'_> {
    fn run(&self) -> Result<Time, Failed> {
        for folder in [&self.bare, &self.tree] {
            fs::create_dir(folder).map_err(|error| broken(folder, &error))?;
        }
        self.fetch()?;
        let work = match self.address.has_git_dir() {
            true => self.clone_tree()?,
            false => self.plain_tree()?,
        };
        if self.address.submodules {
            work.run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        if !self.address.has_git_dir() {
            // What they say leads to a repository that is gone.
            remove_links(&self.tree, 0).map_err(|error| broken(&self.tree, &error))?;
        }
        let raw = self.bare().run(&["cat-file", "commit", &self.commit.commit])?;
        Ok(committer_time(&raw).unwrap_or_default())
    }

    fn bare(&self) -> Git<'_> {
        Git { git_dir: Some(self.bare.clone()), ..self.git.clone() }
    }

    /// The commit in a repository of its own.
    fn fetch(&self) -> Result<(), Failed> {
        let git = self.bare();
        let object = &self.commit.object;
        let format = if object.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        git.run(&["init", "--quiet", "--bare", "--template=", format])?;
        git.run(&["remote", "add", "--", "origin", &without_password(&self.address.remote).0])?;
        let alone = git.run(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", "origin", object]);
        match alone {
            Ok(_) => {}
            Err(Failed::Error(error)) => return Err(error.into()),
            // Some servers give only what has a name, others no part of a history.
            Err(Failed::Complaint(_)) => {
                let all = ["+refs/heads/*:refs/fetched/heads/*", "+refs/tags/*:refs/fetched/tags/*"];
                git.run(&["fetch", "--quiet", "--no-tags", "--", "origin", all[0], all[1]])?;
                let named = format!("+{0}:refs/fetched/{0}", self.commit.reference);
                if self.commit.reference.starts_with("refs/") {
                    git.run(&["fetch", "--quiet", "--no-tags", "--", "origin", &named])?;
                }
            }
        }
        git.run(&["cat-file", "-e", &format!("{object}^{{commit}}")]).map_err(|_| {
            let message = format!("{} has no commit {object}", redacted(&self.address.remote));
            Error::new(ErrorKind::NotFound, message)
        })?;
        Ok(())
    }

    fn plain_tree(&self) -> Result<Git<'_>, Failed> {
        let git = Git { work_tree: Some(self.tree.clone()), ..self.bare() };
        git.run(&["checkout", "--quiet", "--no-overlay", &self.commit.commit, "--", "."])?;
        Ok(git)
    }

    /// A work tree with a repository of this commit alone, as Docker leaves it: nothing in it says where it came from but
    /// the address of its origin.
    fn clone_tree(&self) -> Result<Git<'_>, Failed> {
        let own = self.tree.join(".git");
        let git = Git { git_dir: Some(own.clone()), work_tree: Some(self.tree.clone()), ..self.git.clone() };
        let format =
            if self.commit.object.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        git.run(&["init", "--quiet", "--template=", format])?;
        let refspec = self.name_object()?;
        let near = Git { protocols: THIS_MACHINE, header: None, login: None, ..git.clone() };
        let words = ["fetch", "--quiet", "-u", "--depth=1", "--"].map(OsStr::new);
        // Its path and no address, in which a percent sign would be more than that.
        near.run(&[&words[..], &[self.bare.as_os_str(), OsStr::new(&refspec)]].concat())?;
        git.run(&["checkout", "--quiet", "FETCH_HEAD"])?;
        git.run(&["remote", "add", "--", "origin", &redacted(&self.address.remote)])?;
        git.run(&["reflog", "expire", "--all", "--expire=now"])?;
        match fs::remove_file(own.join("FETCH_HEAD")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(broken(&own, &error).into()),
            _ => Ok(git),
        }
    }

    /// Gives the object a name, under which it is fetched on: what is to be fetched as what.
    fn name_object(&self) -> Result<String, Failed> {
        let git = self.bare();
        let Commit { object, called, reference, .. } = self.commit;
        let named = |name: &str| git.run(&["update-ref", name, object]).map(drop);
        if called == object {
            named("refs/galley/commit")?;
            return Ok("refs/galley/commit".to_owned());
        }
        if git.line(&["cat-file", "-t", object])? == "tag" {
            let tag = format!("refs/tags/{}", called.strip_prefix("refs/tags/").unwrap_or(called));
            named(&tag)?;
            return Ok(format!("{tag}:{tag}"));
        }
        named(reference)?;
        // As BuildKit leaves it: a tag without words of its own becomes a branch there.
        let to = if called.starts_with("refs/") { called.clone() } else { format!("refs/heads/{called}") };
        Ok(format!("{reference}:{to}"))
    }

    /// The folder that is meant. There is no link on the way to it.
    fn subdir(&self) -> Result<PathBuf, Error> {
        let mut path = self.tree.clone();
        for name in self.address.subdir.split('/').filter(|name| !name.is_empty()) {
            path.push(name);
            if !fs::symlink_metadata(&path).is_ok_and(|data| data.is_dir()) {
                let message = format!("{} has no folder /{}", self.address.shown(), self.address.subdir);
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        }
        Ok(path)
    }
}

/// When the commit of these bytes was made.
fn committer_time(commit: &[u8]) -> Option<Time> {
    let text = String::from_utf8_lossy(commit);
    let line =
        text.lines().take_while(|line| !line.is_empty()).find(|line| line.starts_with("committer "))?;
    line.rsplit(' ').nth(1)?.parse().ok().map(Time::from_seconds)
}

/// Removes the files `.git` of submodules.
fn remove_links(folder: &Path, depth: usize) -> std::io::Result<()> {
    for entry in entries(folder, depth)? {
        if entry.file_type()?.is_dir() {
            remove_links(&entry.path(), depth + 1)?;
        } else if entry.file_name() == ".git" {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What the person's umask took away comes back; with `time`, everything gets it.
fn conform(path: &Path, time: Option<Time>, depth: usize) -> std::io::Result<()> {
    let data = fs::symlink_metadata(path)?;
    if data.is_dir() {
        for entry in entries(path, depth)? {
            conform(&entry.path(), time, depth + 1)?;
        }
    }
    if !data.is_symlink() {
        let own = if data.is_dir() { 0o7 } else { data.permissions().mode() >> 6 & 0o7 };
        let mode = own << 6 | (own & 0o5) << 3 | own & 0o5;
        if data.permissions().mode() & 0o7777 != mode {
            fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
    }
    match time {
        Some(time) => set_time(path, time),
        None => Ok(()),
    }
}

fn set_time(path: &Path, time: Time) -> std::io::Result<()> {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    let times = Timestamps { last_access: omit, last_modification: modified };
    Ok(utimensat(CWD, path.as_os_str().as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn entries(folder: &Path, depth: usize) -> std::io::Result<Vec<fs::DirEntry>> {
    if depth > DEPTH_MAX {
        let message = format!("{} has more than {DEPTH_MAX} folders above it", folder.display());
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
    }
    fs::read_dir(folder)?.collect()
}
