//! Named places where a test lets the process die, to show that a kill at any instant costs nothing.

use crate::Store;

impl Store {
    /// Ends the process by SIGKILL when `name` is the failpoint that [`OpenOptions`](crate::OpenOptions) asked for.
    ///
    /// The store itself has `layer-rename`, `record-rename`, `image`, `tag` and `barrier`, each just before the commit
    /// and, with `.done` after the name, just behind it; and for what a collection removes `collect-record`, `collect-export`,
    /// `collect-image`, `collect-layer`, `collect-blob`, `collect-mount` and `collect-delete`; and for the filling of a volume
    /// `volume-stage` and `volume-entry`. Exporters add theirs.
    pub fn failpoint(&self, name: &str) {
        if self.inner.options.failpoint.as_deref() == Some(name) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }

    /// Runs the commit `name` between its two failpoints.
    pub(crate) fn commit_point<T>(&self, name: &str, commit: impl FnOnce() -> T) -> T {
        self.failpoint(name);
        let result = commit();
        if self.inner.options.failpoint.as_deref().and_then(|point| point.strip_suffix(".done")) == Some(name)
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        result
    }
}
