//! Runs the compiled filter in a small interpreter of classic BPF.

use super::*;

const ALLOW: u32 = 0x7fff_0000;
const fn errno(errno: i32) -> u32 {
    0x0005_0000 | errno as u32
}

/// What the kernel would answer for a call with this first argument.
fn run(program: &[libc::sock_filter], arch: u32, number: u32, argument: u64) -> u32 {
    run_with(program, arch, number, [argument, 0, 0, 0, 0, 0])
}

/// What the kernel would answer for a call.
pub(super) fn run_with(program: &[libc::sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [0_u8; 64];
    data[0..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&arch.to_le_bytes());
    for (bytes, argument) in data[16..].chunks_mut(8).zip(arguments) {
        bytes.copy_from_slice(&argument.to_le_bytes());
    }
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let k = instruction.k;
        let branch = |condition: bool| usize::from(if condition { instruction.jt } else { instruction.jf });
        match u32::from(instruction.code) {
            0x20 => accumulator = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x06 => return k,
            code => panic!("unexpected instruction {code:#x}"),
        }
    }
}

fn docker(number: libc::c_long, argument: u64) -> u32 {
    run(&docker_default(Capabilities::docker_default()), machines()[0].0, number as u32, argument)
}

#[test]
fn every_row_of_every_machine_is_answered_as_the_table_says() {
    for capabilities in [Capabilities::none(), Capabilities::docker_default(), Capabilities::all()] {
        let program = docker_default(capabilities);
        for (arch, column) in machines() {
            for row in profile::PROFILE.iter().filter(|row| column(row) != profile::NONE) {
                let expected = match row.4.action(capabilities) {
                    Action::Errno(error) => errno(error),
                    _ => ALLOW,
                };
                assert_eq!(run(&program, arch, column(row), 0), expected, "{row:?}");
            }
        }
    }
}

#[test]
fn numbers_are_the_kernels() {
    let known = [
        ("accept", libc::SYS_accept),
        ("bpf", libc::SYS_bpf),
        ("clone3", libc::SYS_clone3),
        ("execve", libc::SYS_execve),
        ("fstat", libc::SYS_fstat),
        ("lseek", libc::SYS_lseek),
        ("mmap", libc::SYS_mmap),
        ("newfstatat", libc::SYS_newfstatat),
        ("openat2", libc::SYS_openat2),
        ("unshare", libc::SYS_unshare),
        ("statfs", libc::SYS_statfs),
        ("sendfile", libc::SYS_sendfile),
        ("fcntl", libc::SYS_fcntl),
        ("fadvise64", libc::SYS_fadvise64),
        ("truncate", libc::SYS_truncate),
    ];
    let column = machines()[0].1;
    for (name, number) in known {
        let row = profile::PROFILE.iter().find(|row| row.0 == name).unwrap();
        assert_eq!(i64::from(column(row)), number, "{name}");
    }
}

#[test]
fn unknown_calls_do_not_exist_and_denied_ones_are_forbidden() {
    assert_eq!(docker(5000, 0), errno(libc::ENOSYS));
    assert_eq!(docker(i64::from(profile::LAST_KNOWN) + 1, 0), errno(libc::ENOSYS));
    assert_eq!(docker(libc::SYS_kexec_load, 0), errno(libc::EPERM));
    assert_eq!(docker(libc::SYS_mount, 0), errno(libc::EPERM));
    assert_eq!(docker(libc::SYS_add_key, 0), errno(libc::EPERM));
}

#[test]
fn namespaces_need_the_capability() {
    assert_eq!(docker(libc::SYS_clone, libc::SIGCHLD as u64), ALLOW);
    assert_eq!(docker(libc::SYS_clone, libc::CLONE_NEWUSER as u64), errno(libc::EPERM));
    assert_eq!(docker(libc::SYS_clone3, 0), errno(libc::ENOSYS));
    let admin = Capabilities::none().with("SYS_ADMIN").unwrap();
    let program = docker_default(admin);
    let arch = machines()[0].0;
    assert_eq!(run(&program, arch, libc::SYS_clone as u32, libc::CLONE_NEWUSER as u64), ALLOW);
    assert_eq!(run(&program, arch, libc::SYS_clone3 as u32, 0), ALLOW);
}

#[test]
fn some_socket_families_are_closed() {
    for (family, expected) in [
        (2, ALLOW),
        (16, ALLOW),
        (38, errno(libc::EPERM)),
        (39, ALLOW),
        (40, errno(libc::EPERM)),
        (41, ALLOW),
    ] {
        assert_eq!(docker(libc::SYS_socket, family), expected, "{family}");
    }
    assert_eq!(docker(libc::SYS_socket, 1 << 32 | 40), errno(libc::EPERM), "the high half does not count");
}

#[test]
fn sockets_but_those_of_unix_are_handed_over() {
    const NOTIFY: u32 = 0x7fc0_0000;
    let program = sockets();
    let native = |number: libc::c_long, argument| run(&program, machines()[0].0, number as u32, argument);
    for family in [2, 10, 16, 17] {
        assert_eq!(native(libc::SYS_socket, family), NOTIFY, "{family}");
    }
    assert_eq!(native(libc::SYS_socket, 1), ALLOW);
    assert_eq!(native(libc::SYS_socket, 1 << 32 | 1), ALLOW, "the high half does not count");
    for number in [libc::SYS_socket - 1, libc::SYS_socket + 1, libc::SYS_socketpair, 0, 5000] {
        assert_eq!(native(number, 2), ALLOW, "{number}");
    }
    if cfg!(target_arch = "x86_64") {
        let (socketcall, socket, bind) = (102, 359, 2);
        assert_eq!(run(&program, audit_arch::I386, socketcall, 1), NOTIFY);
        assert_eq!(run(&program, audit_arch::I386, socketcall, bind), ALLOW);
        assert_eq!(run(&program, audit_arch::I386, socket, 2), NOTIFY);
        assert_eq!(run(&program, audit_arch::I386, socket, 1), ALLOW);
    }
}

#[test]
fn without_a_network_there_are_sockets_of_unix_alone() {
    let program = no_sockets();
    let native = |number: libc::c_long, argument| run(&program, machines()[0].0, number as u32, argument);
    for family in [0, 2, 10, 16, 17, 40] {
        assert_eq!(native(libc::SYS_socket, family), errno(libc::EAFNOSUPPORT), "{family}");
    }
    assert_eq!(native(libc::SYS_socket, 1), ALLOW);
    assert_eq!(native(libc::SYS_io_uring_setup, 8), errno(libc::ENOSYS));
    for number in [libc::SYS_socket - 1, libc::SYS_socket + 1, libc::SYS_socketpair, 0, 424, 426, 5000] {
        assert_eq!(native(number, 2), ALLOW, "{number}");
    }
    if cfg!(target_arch = "x86_64") {
        assert_eq!(native(0x4000_0000 + libc::SYS_socket, 2), errno(libc::ENOSYS));
        let (socketcall, socket, bind) = (102, 359, 2);
        assert_eq!(run(&program, audit_arch::I386, socketcall, 1), errno(libc::EAFNOSUPPORT));
        assert_eq!(run(&program, audit_arch::I386, socketcall, bind), ALLOW);
        assert_eq!(run(&program, audit_arch::I386, socket, 2), errno(libc::EAFNOSUPPORT));
        assert_eq!(run(&program, audit_arch::I386, IO_URING_SETUP, 8), errno(libc::ENOSYS));
    }
}

#[test]
fn personalities_are_the_harmless_ones() {
    for value in [0, 8, 0x20000, 0x20008, 0xffff_ffff] {
        assert_eq!(docker(libc::SYS_personality, value), ALLOW, "{value:#x}");
    }
    for value in [1, 0x0004_0000, 0x1_0000_0000] {
        assert_eq!(docker(libc::SYS_personality, value), errno(libc::EPERM), "{value:#x}");
    }
}

#[test]
fn foreign_machines_are_killed() {
    assert_eq!(run(&docker_default(Capabilities::all()), 0x1234, 0, 0), 0x8000_0000);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn x32_numbers_do_not_exist() {
    assert_eq!(docker(0x4000_0000 + libc::SYS_read, 0), errno(libc::ENOSYS));
}

#[test]
fn the_program_fits_the_kernels_limit() {
    assert!(docker_default(Capabilities::docker_default()).len() <= 4096);
}

#[test]
fn the_filter_made_beforehand_is_the_one_that_would_be_made() {
    let rows = |program: &[libc::sock_filter]| -> Vec<_> {
        program.iter().map(|it| (it.code, it.jt, it.jf, it.k)).collect()
    };
    make_usual();
    for capabilities in [Capabilities::none(), Capabilities::docker_default(), Capabilities::all()] {
        assert_eq!(rows(&docker_default(capabilities)), rows(&compiled(capabilities)));
    }
}
