//! Which call means what.

use std::ffi::CString;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::files::{self, Reply};
use super::ids::{GROUPS_MAX, Ids, Set, Table};
use super::kernel;
use super::task::{Place, Right, Task};

type Answer = Result<Reply, Errno>;

/// What fchownat takes.
const CHOWN_FLAGS: i32 = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
/// What newfstatat takes.
const STAT_FLAGS: i32 = CHOWN_FLAGS | libc::AT_NO_AUTOMOUNT;

/// What every path of the old calls is relative to.
const HERE: i32 = libc::AT_FDCWD;

/// Answers one call of a process whose identity is `table`'s.
pub(super) fn answer(task: &Task<'_>, table: &mut Table) -> Answer {
    let number = libc::c_long::from(task.call.number);
    match number {
        libc::SYS_fstat if task.descriptor(0) < 0 => Ok(Reply::Kernel),
        libc::SYS_fstat => files::stat(task, &task.file(task.descriptor(0)), task.call.args[1]),
        libc::SYS_newfstatat if task.descriptor(3) & !STAT_FLAGS != 0 => Ok(Reply::Kernel),
        libc::SYS_newfstatat => {
            let place = task.place_with(task.descriptor(0), &text_or_none(task, 1)?, task.descriptor(3))?;
            files::stat(task, &place, task.call.args[2])
        }
        libc::SYS_statx => {
            let place = task.place_with(task.descriptor(0), &text_or_none(task, 1)?, task.descriptor(2))?;
            files::statx(task, &place)
        }
        _ => {
            let ids = table.find(kernel::lock_limit(task.call.pid)?).clone();
            match about_files(task, &ids, number) {
                Some(answer) => answer,
                None => about_ids(task, table, ids, number),
            }
        }
    }
}

/// Since Linux 6.11 no path at all is as good as an empty one, to the calls that take AT_EMPTY_PATH.
fn text_or_none(task: &Task<'_>, index: usize) -> Result<Vec<u8>, Errno> {
    if task.call.args[index] == 0 { Ok(Vec::new()) } else { task.text(index) }
}

/// What is wrong with a path, the kernel says.
fn there(place: Result<Place, Errno>, answer: impl FnOnce(&Place) -> Answer) -> Answer {
    place.map_or(Ok(Reply::Kernel), |place| answer(&place))
}

/// The calls that old programs make, in the form of those that replaced them; machines without them have them not.
#[cfg(target_arch = "x86_64")]
fn old(task: &Task<'_>, ids: &Ids, number: libc::c_long) -> Option<Answer> {
    let at = |follow| task.text(0).and_then(|path| task.place(HERE, &path, follow));
    let with = |follow, answer: &dyn Fn(&Place) -> Answer| Some(there(at(follow), answer));
    let (second, third) = (task.number(1), task.number(2));
    match number {
        libc::SYS_stat => with(true, &|place| files::stat(task, place, task.call.args[1])),
        libc::SYS_lstat => with(false, &|place| files::stat(task, place, task.call.args[1])),
        libc::SYS_chown => with(true, &|place| files::chown(task, ids, place, second, third)),
        libc::SYS_lchown => with(false, &|place| files::chown(task, ids, place, second, third)),
        libc::SYS_open => with(true, &|place| files::open_new(task, ids, place, second, third)),
        libc::SYS_creat => {
            let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u32;
            with(true, &|place| files::open_new(task, ids, place, flags, second))
        }
        libc::SYS_mkdir => with(false, &|place| make_directory(task, ids, place, second)),
        libc::SYS_mknod => with(false, &|place| files::make_node(task, ids, place, second, third)),
        libc::SYS_symlink => Some(make_link(task, ids, HERE, 1)),
        _ => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn old(_: &Task<'_>, _: &Ids, _: libc::c_long) -> Option<Answer> {
    None
}

fn about_files(task: &Task<'_>, ids: &Ids, number: libc::c_long) -> Option<Answer> {
    let directory = task.descriptor(0);
    let at = || task.text(1).and_then(|path| task.place(directory, &path, false));
    let answer = match number {
        libc::SYS_fchown if !task.is_open_file(directory) => Ok(Reply::Kernel),
        libc::SYS_fchown => files::chown(task, ids, &task.file(directory), task.number(1), task.number(2)),
        libc::SYS_fchownat if task.descriptor(4) & !CHOWN_FLAGS != 0 => Ok(Reply::Kernel),
        libc::SYS_fchownat => {
            let place = task.text(1).and_then(|path| task.place_with(directory, &path, task.descriptor(4)));
            there(place, |place| files::chown(task, ids, place, task.number(2), task.number(3)))
        }
        libc::SYS_openat => {
            there(at(), |place| files::open_new(task, ids, place, task.number(2), task.number(3)))
        }
        libc::SYS_openat2 => there(at(), |place| open_as_told(task, ids, place)),
        libc::SYS_mkdirat => there(at(), |place| make_directory(task, ids, place, task.number(2))),
        libc::SYS_mknodat => {
            there(at(), |place| files::make_node(task, ids, place, task.number(2), task.number(3)))
        }
        libc::SYS_symlinkat => make_link(task, ids, task.descriptor(1), 2),
        _ => return old(task, ids, number),
    };
    Some(answer)
}

fn make_directory(task: &Task<'_>, ids: &Ids, place: &Place, mode: u32) -> Answer {
    let mode = Mode::from_raw_mode(mode & 0o7777);
    files::make(task, ids, place, |directory, name| rustix::fs::mkdirat(directory, name, mode))
}

/// The first argument is what the link says; the one at `index` is its path.
fn make_link(task: &Task<'_>, ids: &Ids, directory: i32, index: usize) -> Answer {
    let place = task.text(index).and_then(|path| task.place(directory, &path, false));
    let (Ok(place), Ok(target)) = (place, task.text(0)) else { return Ok(Reply::Kernel) };
    let target = CString::new(target).map_err(|_| Errno::INVAL)?;
    files::make(task, ids, &place, |directory, name| rustix::fs::symlinkat(&*target, directory, name))
}

/// openat2. One that limits where its path leads is left to the kernel, and so is what it makes.
fn open_as_told(task: &Task<'_>, ids: &Ids, place: &Place) -> Answer {
    let mut how = [0; 24];
    task.memory(task.call.args[2], &mut how)?;
    let word = |at: usize| how[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let (flags, mode, resolve) = (word(0), word(8), word(16));
    let creates = flags & (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64 != 0;
    if !creates || resolve != 0 {
        return Ok(Reply::Kernel);
    }
    files::open_new(task, ids, place, flags as u32, mode as u32)
}

fn about_ids(task: &Task<'_>, table: &mut Table, ids: Ids, number: libc::c_long) -> Answer {
    let number_of = |id: u32| Ok(Reply::Value(id.into()));
    match number {
        libc::SYS_getuid => number_of(ids.user.real),
        libc::SYS_geteuid => number_of(ids.user.effective),
        libc::SYS_getgid => number_of(ids.group.real),
        libc::SYS_getegid => number_of(ids.group.effective),
        libc::SYS_getresuid => tell_three(task, ids.user),
        libc::SYS_getresgid => tell_three(task, ids.group),
        libc::SYS_getgroups => tell_groups(task, &ids.groups),
        libc::SYS_setfsuid => {
            let user = ids.user.set_files(task.number(0), ids.privileged() && task.has(Right::SetUser));
            let before = ids.user.files;
            change(task, table, Ids { user, ..ids })?;
            number_of(before)
        }
        libc::SYS_setfsgid => {
            let group = ids.group.set_files(task.number(0), ids.privileged() && task.has(Right::SetGroup));
            let before = ids.group.files;
            change(task, table, Ids { group, ..ids })?;
            number_of(before)
        }
        libc::SYS_setgroups => set_groups(task, table, ids),
        libc::SYS_execve => execute(task, table, ids),
        libc::SYS_prctl => keep_rights(task, table, ids),
        libc::SYS_getrlimit => tell_limit(task, task.call.args[1]),
        libc::SYS_setrlimit => Ok(Reply::Value(0)),
        libc::SYS_prlimit64 => tell_limit(task, task.call.args[3]),
        _ => set(task, table, ids, number),
    }
}

fn set(task: &Task<'_>, table: &mut Table, ids: Ids, number: libc::c_long) -> Answer {
    let may = |right| ids.privileged() && task.has(right);
    let (users, groups) = (|| may(Right::SetUser), || may(Right::SetGroup));
    let [first, second, third] = [0, 1, 2].map(|index| task.number(index));
    let new = match number {
        libc::SYS_setuid => {
            let user = ids.user.set(first, users())?;
            ids.with_user(user)
        }
        libc::SYS_setgid => Ids { group: ids.group.set(first, groups())?, ..ids },
        libc::SYS_setreuid => {
            let user = ids.user.set_two(first, second, users())?;
            ids.with_user(user)
        }
        libc::SYS_setregid => Ids { group: ids.group.set_two(first, second, groups())?, ..ids },
        libc::SYS_setresuid => {
            let user = ids.user.set_three([first, second, third], users())?;
            ids.with_user(user)
        }
        libc::SYS_setresgid => Ids { group: ids.group.set_three([first, second, third], groups())?, ..ids },
        _ => return Ok(Reply::Kernel),
    };
    change(task, table, new)
}

fn change(task: &Task<'_>, table: &mut Table, ids: Ids) -> Answer {
    let limit = table.limit(ids)?;
    task.still_waits()?;
    let before = kernel::set_lock_limit(task.call.pid, limit)?;
    // The one thing that is done by the number of a process. Should another have got it just now, it stays who it is.
    if let Err(error) = task.still_waits() {
        kernel::set_lock_limit(task.call.pid, before)?;
        return Err(error);
    }
    Ok(Reply::Value(0))
}

fn tell_three(task: &Task<'_>, set: Set) -> Answer {
    for (index, id) in [set.real, set.effective, set.saved].into_iter().enumerate() {
        task.write(task.call.args[index], &id.to_ne_bytes())?;
    }
    Ok(Reply::Value(0))
}

fn tell_groups(task: &Task<'_>, groups: &[u32]) -> Answer {
    let room = task.descriptor(0);
    let count = groups.len();
    if room != 0 {
        if usize::try_from(room).map_or(true, |room| room < count) {
            return Err(Errno::INVAL);
        }
        let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
        if !bytes.is_empty() {
            task.write(task.call.args[1], &bytes)?;
        }
    }
    Ok(Reply::Value(count as i64))
}

fn set_groups(task: &Task<'_>, table: &mut Table, ids: Ids) -> Answer {
    if !(ids.privileged() && task.has(Right::SetGroup)) {
        return Err(Errno::PERM);
    }
    let count = usize::try_from(task.descriptor(0)).ok().filter(|&count| count <= GROUPS_MAX);
    let mut bytes = vec![0; 4 * count.ok_or(Errno::INVAL)?];
    if !bytes.is_empty() {
        task.memory(task.call.args[1], &mut bytes)?;
    }
    let (numbers, _) = bytes.as_chunks::<4>();
    let mut groups: Vec<u32> = numbers.iter().map(|bytes| u32::from_ne_bytes(*bytes)).collect();
    // The kernel sorts them too.
    groups.sort_unstable();
    change(task, table, Ids { groups, ..ids })
}

/// prctl about what happens to the rights of who leaves root's id; the kernel keeps the real ones in mind.
fn keep_rights(task: &Task<'_>, table: &mut Table, ids: Ids) -> Answer {
    const SECBIT_KEEP_CAPS: u32 = 1 << 4;
    let keeps = match task.descriptor(0) {
        libc::PR_SET_KEEPCAPS => task.number(1) == 1,
        _ => task.number(1) & SECBIT_KEEP_CAPS != 0,
    };
    if keeps != ids.keeps {
        change(task, table, Ids { keeps, ..ids })?;
    }
    Ok(Reply::Kernel)
}

/// The limit in which identities are kept does not change, and seems to be none.
fn tell_limit(task: &Task<'_>, address: u64) -> Answer {
    const UNLIMITED: [u8; 16] = [0xff; 16];
    if address != 0 {
        task.write(address, &UNLIMITED)?;
    }
    Ok(Reply::Value(0))
}

/// Before a new program: a set-id file brings its owner. Should the kernel refuse the program after all, the process keeps
/// what it brought, which is more than it should have, of what is only told.
fn execute(task: &Task<'_>, table: &mut Table, ids: Ids) -> Answer {
    let place = task.place(HERE, &task.text(0)?, true)?;
    let (user, group) = files::brought(task, &place);
    let new = ids.clone().executed(user, group);
    if new != ids {
        change(task, table, new)?;
    }
    Ok(Reply::Kernel)
}
