//! The last step.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::step::Step as _;
use super::{last::LastFilter, obstacle};
use crate::error::{ExecCause, ExecError, SetupError, SetupStep};
use crate::sys::{self, CStringArray};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with everything exec wants, in the kernel's form.
pub(crate) struct Program {
    name: OsString,
    candidates: Vec<CString>,
    args: CStringArray,
    env: CStringArray,
    filter: Option<LastFilter>,
}

impl Program {
    pub(crate) fn new(args: &[OsString], env: &[OsString]) -> Result<Self, SetupError> {
        let name = args.first().cloned().unwrap_or_default();
        Ok(Self {
            candidates: candidates(&name, env)?,
            name,
            args: CStringArray::new(c_strings(args)?),
            env: CStringArray::new(variables(env)?),
            filter: None,
        })
    }

    /// The same behind this filter.
    pub(crate) fn behind(self, filter: Option<LastFilter>) -> Self {
        Self { filter, ..self }
    }

    pub(super) const fn filter(&self) -> Option<&LastFilter> {
        self.filter.as_ref()
    }

    /// Becomes the program, or says why that is impossible.
    pub(crate) fn exec(self) -> Result<ExecError, SetupError> {
        self.filter().map_or(Ok(()), LastFilter::load)?;
        let error = self.try_all();
        self.tell(&error);
        Ok(error)
    }

    fn try_all(&self) -> ExecError {
        let mut error = self.error(ExecCause::NotFound, libc::ENOENT);
        for candidate in &self.candidates {
            if let Some(filter) = self.filter() {
                filter.keep_silent();
            }
            let errno = sys::exec_path(candidate, &self.args, &self.env).raw_os_error().unwrap_or_default();
            let missing = matches!(errno, libc::ENOENT | libc::ENOTDIR);
            let refused = self.error(ExecCause::NotExecutable, errno);
            // A filter may end this process for looking at files.
            self.tell(if missing { &error } else { &refused });
            if missing && !exists(candidate) {
                continue;
            }
            let cause = if errno == libc::ENOENT { ExecCause::NoInterpreter } else { refused.cause };
            error = ExecError { cause, obstacle: obstacle::find(candidate, errno), ..refused };
            // As a shell does: a directory or a file without permission does not end the search.
            if !matches!(errno, libc::ENOENT | libc::EACCES) {
                break;
            }
        }
        error
    }

    fn error(&self, cause: ExecCause, errno: i32) -> ExecError {
        ExecError { program: self.name.clone(), cause, errno, obstacle: None }
    }

    fn tell(&self, error: &ExecError) {
        if let Some(filter) = self.filter() {
            filter.tell(error);
        }
    }
}

/// Whether there is something under that name, as this process sees it.
pub(super) fn exists(path: &CStr) -> bool {
    rustix::fs::stat(path).is_ok()
}

fn c_strings(strings: &[OsString]) -> Result<Vec<CString>, SetupError> {
    strings.iter().map(|string| c_string(string.as_bytes())).collect()
}

/// An error tells the name of a variable and not its value, which may be a secret.
fn variables(env: &[OsString]) -> Result<Vec<CString>, SetupError> {
    let name = |variable: &[u8]| variable.split(|&byte| byte == b'=').next().unwrap_or_default().to_vec();
    env.iter()
        .map(|variable| named(variable.as_bytes(), OsStr::from_bytes(&name(variable.as_bytes()))))
        .collect()
}

fn c_string(bytes: &[u8]) -> Result<CString, SetupError> {
    named(bytes, OsStr::from_bytes(bytes))
}

fn named(bytes: &[u8], name: &OsStr) -> Result<CString, SetupError> {
    CString::new(bytes).map_err(|_| rustix::io::Errno::INVAL).step_at(SetupStep::ReadSpec, name)
}

fn candidates(name: &OsStr, env: &[OsString]) -> Result<Vec<CString>, SetupError> {
    if name.as_bytes().contains(&b'/') || name.is_empty() {
        return Ok(vec![c_string(name.as_bytes())?]);
    }
    let path = env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
    let in_directory = |directory: &[u8]| {
        let directory = if directory.is_empty() { b"." } else { directory };
        let mut full = OsString::from_vec(directory.to_vec());
        full.push("/");
        full.push(name);
        c_string(full.as_bytes())
    };
    path.unwrap_or(DEFAULT_PATH).split(|&byte| byte == b':').map(in_directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_tell_the_value_of_a_variable() {
        let error = Program::new(&["true".into()], &["TOKEN=hunter2\0".into()]).err().expect("a zero byte");
        assert_eq!(error.path.as_deref(), Some(std::path::Path::new("TOKEN")));
    }
}
