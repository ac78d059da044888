//! The master side of a sandbox's terminal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::termios::Winsize;

use crate::error::Error;
use crate::spec::TtySize;

/// The master of the terminal that is /dev/console and the three streams inside.
///
/// Reading gives what the program writes and ends with an error (EIO) when the last process has closed the terminal;
/// [`Pty::read`] shows that as the end of the file.
#[derive(Debug)]
pub struct Pty {
    master: OwnedFd,
}

impl Pty {
    /// The terminal with this master side.
    #[must_use]
    pub const fn from_master(master: OwnedFd) -> Self {
        Self { master }
    }

    /// Tells the program the size of its window.
    pub fn resize(&self, size: TtySize) -> Result<(), Error> {
        set_size(self.master.as_fd(), size)
            .map_err(|source| Error::Terminal { action: "resize", source: source.into() })
    }

    /// Reads what the program wrote; 0 when nothing has the terminal open any more.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.master, &mut *buffer)) {
            Err(rustix::io::Errno::IO) => Ok(0),
            other => Ok(other?),
        }
    }

    /// Types into the terminal.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::write(&self.master, bytes))?)
    }
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

pub(crate) fn set_size(terminal: BorrowedFd<'_>, size: TtySize) -> rustix::io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}
