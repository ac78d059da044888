//! Answers of calls about owners and identities, one by one: the kernel's on the rungs above, the supervisor's where one
//! id is mapped. Both are held to one table.

use std::ffi::CString;
use std::process::ExitCode;

use galley_sandbox::{Mount, Source};

use crate::fixture::{Kitchen, output};

crate::tests![privileged_every_answer_is_the_kernels];

/// Set for the copy of this program that makes the calls, in a sandbox.
const CALLER: &str = "GALLEY_TEST_CALLER";

/// What the kernel says to root, and to a user.
const EXPECTED: &str = include_str!("errnos.txt");

pub(crate) fn enter() -> Option<ExitCode> {
    std::env::var_os(CALLER)?;
    std::env::set_current_dir("/w").unwrap();
    prepare();
    tell("root", &about_files());
    tell("root", &about_ids());
    become_user();
    tell("user", &as_user());
    Some(ExitCode::SUCCESS)
}

fn privileged_every_answer_is_the_kernels() {
    let kitchen = Kitchen::new();
    fs_err::create_dir(kitchen.path("base/w")).unwrap();
    let program = std::env::current_exe().unwrap();
    let mut spec = kitchen.spec(&["/test"]);
    spec.env.push(format!("{CALLER}=1").into());
    let host = ["/usr", "/lib", "/lib64"].map(std::path::PathBuf::from).into_iter();
    let shown = host.filter(|path| path.exists()).map(|path| (path.clone(), path));
    let mounts = shown.chain([(program, "/test".into())]).map(|(path, target)| Mount {
        target,
        source: Source::Bind { path, subpath: "".into(), recursive: false },
        readonly: true,
    });
    spec.mounts = mounts.collect();
    let text = output(&spec);
    let differences: Vec<_> =
        text.lines().zip(EXPECTED.lines()).filter(|(is, should)| is != should).collect();
    assert!(text == EXPECTED, "{differences:#?}\n{text}");
}

/// Descriptors of the process, by what they are.
const FILE: i32 = 60;
const PLACE: i32 = 61;
const DIRECTORY: i32 = 62;
const NOTHING: i32 = 63;
const HERE: i32 = libc::AT_FDCWD;
const KEEP: u32 = u32::MAX;
const EMPTY: i32 = libc::AT_EMPTY_PATH;
const NOFOLLOW: i32 = libc::AT_SYMLINK_NOFOLLOW;
/// No address of a process.
const NOWHERE: usize = 8;

/// What it is called, the call, its arguments.
type Row = (&'static str, libc::c_long, Vec<usize>);

/// A string of this process; it stays.
fn text(text: &str) -> usize {
    CString::new(text).unwrap().into_raw() as usize
}

/// Room for what a call writes; it stays.
fn room() -> usize {
    Box::leak(Box::new([0_u64; 64])).as_mut_ptr() as usize
}

/// A number of 32 bits, as C passes it.
const fn int(number: i32) -> usize {
    number as usize
}

fn call(number: libc::c_long, arguments: &[usize]) -> Result<libc::c_long, i32> {
    let all: Vec<usize> = arguments.iter().copied().chain([0; 6]).collect();
    // SAFETY: the kernel checks what it is given, and writes to rooms alone.
    let result = unsafe { libc::syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]) };
    if result == -1 { Err(std::io::Error::last_os_error().raw_os_error().unwrap()) } else { Ok(result) }
}

fn tell(who: &str, rows: &[Row]) {
    for (name, number, arguments) in rows {
        match call(*number, arguments) {
            // A new file's number says nothing.
            Ok(value) if *number == libc::SYS_openat => println!("{who} {name}: {}", value.min(0)),
            Ok(value) => println!("{who} {name}: {value}"),
            Err(errno) => println!("{who} {name}: {}", rustix::io::Errno::from_raw_os_error(errno)),
        }
    }
}

fn prepare() {
    std::env::set_current_dir("/w").unwrap();
    fs_err::write("f", "").unwrap();
    fs_err::create_dir("d").unwrap();
    for (target, name) in [("f", "l"), ("nothing", "n"), ("loop", "loop")] {
        fs_err::os::unix::fs::symlink(target, name).unwrap();
    }
    call(libc::SYS_chmod, &[text("/w"), 0o777]).unwrap();
    for (path, flags, number) in
        [("f", libc::O_RDWR, FILE), ("f", libc::O_PATH, PLACE), ("d", libc::O_RDONLY, DIRECTORY)]
    {
        let file = call(libc::SYS_openat, &[int(HERE), text(path), int(flags)]).unwrap();
        call(libc::SYS_dup3, &[file as usize, int(number), 0]).unwrap();
    }
}

/// In this order: some are about what others made.
fn about_files() -> Vec<Row> {
    [about_owners(), about_stat(), about_new_files()].concat()
}

fn about_owners() -> Vec<Row> {
    let long = text(&"a/".repeat(2100));
    let name = text(&"a".repeat(256));
    let fchownat = |name, directory: i32, path, flags: i32| {
        (name, libc::SYS_fchownat, vec![int(directory), path, 1, 2, int(flags)])
    };
    let fchown =
        |name, file: i32, user: u32| (name, libc::SYS_fchown, vec![int(file), user as usize, user as usize]);
    vec![
        fchown("fchown of the working directory", HERE, 1),
        fchown("fchown of nothing", NOTHING, 1),
        fchown("fchown of -1", -1, 1),
        fchown("fchown of a place", PLACE, 1),
        fchown("fchown of a file", FILE, 1),
        fchown("fchown of a directory", DIRECTORY, 1),
        fchown("fchown that changes nothing", FILE, KEEP),
        fchownat("fchownat, empty, here", HERE, text(""), EMPTY),
        fchownat("fchownat, empty, a file", FILE, text(""), EMPTY),
        fchownat("fchownat, empty, a place", PLACE, text(""), EMPTY),
        fchownat("fchownat, empty, nothing", NOTHING, text(""), EMPTY),
        fchownat("fchownat, empty without the flag", FILE, text(""), 0),
        fchownat("fchownat, null without the flag", FILE, 0, 0),
        fchownat("fchownat, empty and nofollow", FILE, text(""), EMPTY | NOFOLLOW),
        fchownat("fchownat, a name with the flag", HERE, text("f"), EMPTY),
        fchownat("fchownat, a foreign address", HERE, NOWHERE, 0),
        fchownat("fchownat, in nothing", NOTHING, text("f"), 0),
        fchownat("fchownat, in a file", FILE, text("f"), 0),
        fchownat("fchownat, whole path and nothing", NOTHING, text("/w/f"), 0),
        fchownat("fchownat, foreign flag", HERE, text("f"), 1),
        fchownat("fchownat, foreign flag and foreign name", HERE, text("missing"), 1),
        fchownat("fchownat, missing", HERE, text("missing"), 0),
        fchownat("fchownat, dangling", HERE, text("n"), 0),
        fchownat("fchownat, dangling itself", HERE, text("n"), NOFOLLOW),
        fchownat("fchownat, a file as a directory", HERE, text("f/"), 0),
        fchownat("fchownat, below a file", HERE, text("f/x"), 0),
        fchownat("fchownat, loop", HERE, text("loop"), 0),
        fchownat("fchownat, long path", HERE, long, 0),
        fchownat("fchownat, long name", HERE, name, 0),
        fchownat("fchownat, in a directory", DIRECTORY, text("../f"), 0),
    ]
}

fn about_stat() -> Vec<Row> {
    let stat = |name, file: i32, room| (name, libc::SYS_fstat, vec![int(file), room]);
    let statat = |name, file: i32, path, room, flags: i32| {
        (name, libc::SYS_newfstatat, vec![int(file), path, room, int(flags)])
    };
    vec![
        stat("fstat here", HERE, room()),
        stat("fstat nothing", NOTHING, room()),
        stat("fstat a place", PLACE, room()),
        stat("fstat a foreign address", FILE, NOWHERE),
        statat("newfstatat, empty", FILE, text(""), room(), EMPTY),
        statat("newfstatat, empty, here", HERE, text(""), room(), EMPTY),
        statat("newfstatat, empty without the flag", FILE, text(""), room(), 0),
        statat("newfstatat, foreign flag", HERE, text("f"), room(), 1),
        statat("newfstatat, foreign address", HERE, text("f"), NOWHERE, 0),
        statat("newfstatat, in nothing", NOTHING, text("f"), room(), 0),
        ("statx", libc::SYS_statx, vec![int(HERE), text("f"), 0, 0x7ff, room()]),
        ("statx, foreign flag", libc::SYS_statx, vec![int(HERE), text("f"), 1, 0x7ff, room()]),
        ("statx, foreign mask", libc::SYS_statx, vec![int(HERE), text("f"), 0, 0x8000_0000, room()]),
        ("statx, foreign address", libc::SYS_statx, vec![int(HERE), text("f"), 0, 0x7ff, NOWHERE]),
    ]
}

fn about_new_files() -> Vec<Row> {
    let name = text(&"a".repeat(256));
    let mknod = |name, path, mode: u32, device| {
        (name, libc::SYS_mknodat, vec![int(HERE), path, mode as usize, device])
    };
    let mkdir = |name, directory: i32, path| (name, libc::SYS_mkdirat, vec![int(directory), path, 0o755]);
    let link =
        |name, target, directory: i32, path| (name, libc::SYS_symlinkat, vec![target, int(directory), path]);
    let open = |name, directory: i32, path, flags: i32| {
        (name, libc::SYS_openat, vec![int(directory), path, int(flags), 0o644])
    };
    let (create, only) = (libc::O_CREAT | libc::O_RDWR, libc::O_CREAT | libc::O_EXCL | libc::O_RDWR);
    vec![
        mkdir("mkdirat", HERE, text("made")),
        mkdir("mkdirat again", HERE, text("made")),
        mkdir("mkdirat, empty", HERE, text("")),
        mkdir("mkdirat, in nothing", NOTHING, text("x")),
        mkdir("mkdirat, below nothing", HERE, text("missing/x")),
        mkdir("mkdirat, below a file", HERE, text("f/x")),
        mkdir("mkdirat, dangling", HERE, text("n")),
        mkdir("mkdirat, foreign address", HERE, NOWHERE),
        mkdir("mkdirat, the root", HERE, text("/")),
        mkdir("mkdirat, long name", HERE, name),
        mknod("mknodat, there", text("f"), libc::S_IFREG | 0o644, 0),
        mknod("mknodat, a pipe", text("pipe"), libc::S_IFIFO | 0o644, 0),
        mknod("mknodat, a directory", text("x"), libc::S_IFDIR | 0o644, 0),
        mknod("mknodat, a link", text("x"), libc::S_IFLNK | 0o644, 0),
        mknod("mknodat, a device that is there", text("f"), libc::S_IFCHR | 0o644, 0x103),
        mknod("mknodat, a device below nothing", text("missing/x"), libc::S_IFCHR | 0o644, 0x103),
        link("symlinkat", text("f"), HERE, text("link")),
        link("symlinkat again", text("f"), HERE, text("link")),
        link("symlinkat, empty", text(""), HERE, text("link2")),
        link("symlinkat, foreign address", NOWHERE, HERE, text("link2")),
        link("symlinkat, in nothing", text("f"), NOTHING, text("link2")),
        open("openat", HERE, text("opened"), create),
        open("openat again", HERE, text("opened"), create),
        open("openat alone", HERE, text("opened"), only),
        open("openat, a directory", HERE, text("d"), create),
        open("openat, below nothing", HERE, text("missing/x"), create),
        open("openat, in nothing", NOTHING, text("x"), create),
        open("openat, dangling alone", HERE, text("n"), only),
        open("openat, foreign address", HERE, NOWHERE, create),
        open("openat, long name", HERE, name, create),
        ("execve, missing", libc::SYS_execve, vec![text("missing"), 0, 0]),
        ("execve, a directory", libc::SYS_execve, vec![text("d"), 0, 0]),
        ("execve, foreign address", libc::SYS_execve, vec![NOWHERE, 0, 0]),
    ]
}

fn about_ids() -> Vec<Row> {
    let groups = Box::leak(Box::new([7_u32, 9])).as_ptr() as usize;
    let keep = KEEP as usize;
    vec![
        ("setgroups, too many", libc::SYS_setgroups, vec![65537, groups]),
        ("setgroups, foreign address", libc::SYS_setgroups, vec![2, NOWHERE]),
        ("setgroups", libc::SYS_setgroups, vec![2, groups]),
        ("getgroups, how many", libc::SYS_getgroups, vec![0, 0]),
        ("getgroups, less than nothing", libc::SYS_getgroups, vec![int(-1), room()]),
        ("getgroups, too little room", libc::SYS_getgroups, vec![1, room()]),
        ("getgroups, foreign address", libc::SYS_getgroups, vec![2, NOWHERE]),
        ("getgroups", libc::SYS_getgroups, vec![64, room()]),
        ("setuid, none", libc::SYS_setuid, vec![keep]),
        ("setgid, none", libc::SYS_setgid, vec![keep]),
        ("setresuid, none", libc::SYS_setresuid, vec![keep, keep, keep]),
        ("setfsuid, none", libc::SYS_setfsuid, vec![keep]),
        ("getresuid, foreign address", libc::SYS_getresuid, vec![NOWHERE, room(), room()]),
        ("getresgid", libc::SYS_getresgid, vec![room(), room(), room()]),
        ("setresgid", libc::SYS_setresgid, vec![6, 6, 6]),
        ("getegid", libc::SYS_getegid, vec![]),
    ]
}

fn become_user() {
    call(libc::SYS_setresuid, &[5, 5, 5]).unwrap();
}

fn as_user() -> Vec<Row> {
    let chown = |name, path, user: u32, group: u32| {
        (name, libc::SYS_fchownat, vec![int(HERE), path, user as usize, group as usize, 0])
    };
    let keep = KEEP as usize;
    vec![
        ("getuid", libc::SYS_getuid, vec![]),
        ("setuid to root", libc::SYS_setuid, vec![0]),
        ("setgid to root", libc::SYS_setgid, vec![0]),
        ("setreuid", libc::SYS_setreuid, vec![5, 8]),
        ("setresuid", libc::SYS_setresuid, vec![keep, 0, keep]),
        ("setresgid to its own", libc::SYS_setresgid, vec![6, 6, 6]),
        ("setgroups", libc::SYS_setgroups, vec![0, 0]),
        ("setfsuid", libc::SYS_setfsuid, vec![0]),
        ("setfsuid again", libc::SYS_setfsuid, vec![5]),
        chown("chown of root's", text("f"), 5, 6),
        chown("chown of root's that changes nothing", text("f"), KEEP, KEEP),
        chown("chown of nothing", text("missing"), 5, 6),
        ("openat", libc::SYS_openat, vec![int(HERE), text("own"), int(libc::O_CREAT | libc::O_RDWR), 0o644]),
        chown("chown to itself", text("own"), 5, 6),
        chown("chown to a group of its", text("own"), KEEP, 9),
        chown("chown to another group", text("own"), KEEP, 8),
        chown("chown to another user", text("own"), 7, KEEP),
        ("mkdirat", libc::SYS_mkdirat, vec![int(HERE), text("own-d"), 0o755]),
        ("mkdirat again", libc::SYS_mkdirat, vec![int(HERE), text("own-d"), 0o755]),
        ("mkdirat in nothing", libc::SYS_mkdirat, vec![int(NOTHING), text("own-d"), 0o755]),
        ("mkdirat below nothing", libc::SYS_mkdirat, vec![int(HERE), text("missing/x"), 0o755]),
        ("mknodat of a device", libc::SYS_mknodat, vec![int(HERE), text("dev"), 0o20644, 0x103]),
        ("mknodat of what is there", libc::SYS_mknodat, vec![int(HERE), text("f"), 0o20644, 0x103]),
        ("mknodat of a pipe", libc::SYS_mknodat, vec![int(HERE), text("own-p"), 0o10644, 0]),
        ("symlinkat", libc::SYS_symlinkat, vec![text("x"), int(HERE), text("own-l")]),
        ("symlinkat, empty", libc::SYS_symlinkat, vec![text(""), int(HERE), text("own-m")]),
        ("symlinkat, foreign address", libc::SYS_symlinkat, vec![NOWHERE, int(HERE), text("own-m")]),
    ]
}
