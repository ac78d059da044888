//! When the commit was made that a context is checked out from: `created` of a reproducible image.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// The committer's time of HEAD, asked from git; none when the context is in no work tree or git is not there.
///
/// Only plumbing that runs nothing from the repository's own configuration is used.
pub(super) fn commit_time(context: &Path) -> Option<i64> {
    let output = Command::new("git")
        .args(["--no-replace-objects", "-c", "safe.directory=*", "-C"])
        .arg(context)
        .args(["cat-file", "commit", "HEAD"])
        .env("GIT_NO_LAZY_FETCH", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if output.status.success() { committer_time(&output.stdout) } else { None }
}

/// `committer Name <mail> SECONDS ZONE` of a raw commit.
fn committer_time(commit: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(commit);
    let line =
        text.lines().take_while(|line| !line.is_empty()).find(|line| line.starts_with("committer "))?;
    line.rsplit(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committer_counts_and_not_the_message() {
        let commit = b"tree 1\nauthor A <a> 5 +0000\ncommitter A <b> 7 +0200\n\ncommitter X <y> 9 +0000\n";
        assert_eq!(committer_time(commit), Some(7));
        assert_eq!(committer_time(b"tree 1\n\n"), None);
    }
}
