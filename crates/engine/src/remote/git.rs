//! Commits of git repositories: a reference to a commit, a commit to files. The program `git` does it, as in Docker.
//!
//! * [`resolve`]: what a reference is at the remote; [`checkout`]: the files of a commit.
//! * [`program`]: how git is run.
//!
//! Nothing of the person's or the machine's git settings counts, no hook runs, nothing is asked at a terminal, and only
//! addresses of other machines are followed, also by submodules. A commit is fetched alone, without its history, into a
//! repository of its own below `tmp/`; what comes of it is kept by the commit, so that is done once.

mod checkout;
mod program;
mod resolve;

pub use program::GitSettings;
pub use resolve::Commit;
