//! Who owns files and who a process is: the same on every rung, whether the kernel says it or the supervisor.

use galley_sandbox::{User, userns};

use crate::fixture::{Kitchen, output, run, start};

crate::tests![
    privileged_owners_are_told,
    privileged_owners_stay_with_their_files,
    privileged_new_files_belong_to_who_makes_them,
    privileged_identities_are_told,
    privileged_only_an_owner_gives_away,
    privileged_a_changed_root_leads_nowhere_else,
    privileged_paths_of_a_supervisor_end_at_the_root,
    privileged_many_ask_at_once,
    privileged_devices_stand_in,
    privileged_what_is_dropped_is_not_done,
    privileged_files_are_made_with_no_more_rights,
];

const SHOW: &str = "show() { stat -c '%n %u:%g %a %F' \"$@\"; };";

fn shell(kitchen: &Kitchen, script: &str) -> String {
    output(&kitchen.shell(&format!("set -e; umask 022; mkdir -p /w; cd /w; {SHOW} {script}")))
}

fn as_user(kitchen: &Kitchen, (uid, gid): (u32, u32), groups: &[u32], script: &str) -> String {
    let mut spec = kitchen.shell(script);
    spec.user = User { uid, gid, groups: groups.to_vec() };
    output(&spec)
}

fn privileged_owners_are_told() {
    let kitchen = Kitchen::new();
    let text = shell(
        &kitchen,
        "touch f; mkdir d; ln -s f l; mknod p p; chown 1:2 f; chown 3 d; chown -h 4:5 l; chown :6 p; show f d l p; \
         stat -L -c %u l; cd d; stat -c %u .; touch x; chmod 4755 x; show x; chown 7 x; show x; chown 0:0 x; show x",
    );
    assert_eq!(
        text,
        "f 1:2 644 regular empty file\nd 3:0 755 directory\nl 4:5 777 symbolic link\np 0:6 644 fifo\n1\n3\n\
         x 0:0 4755 regular empty file\nx 7:0 755 regular empty file\nx 0:0 755 regular empty file\n"
    );
}

fn privileged_owners_stay_with_their_files() {
    let kitchen = Kitchen::new();
    let text = shell(
        &kitchen,
        "touch f; chown 1:2 f; ln f g; mv f h; chmod 600 h; echo x >> g; show g h; rm h; show g; ln -s a l; \
         chown -h 5 l; mv l m; show m; mkdir d; chown 8:9 d; mv d e; show e; cp -a g c; show c; rm g; touch g; show g",
    );
    assert_eq!(
        text,
        "g 1:2 600 regular file\nh 1:2 600 regular file\ng 1:2 600 regular file\nm 5:0 777 symbolic link\n\
         e 8:9 755 directory\nc 1:2 600 regular file\ng 0:0 644 regular empty file\n"
    );
}

fn privileged_new_files_belong_to_who_makes_them() {
    let kitchen = Kitchen::new();
    shell(&kitchen, "chmod 777 /w; mkdir s; chown :9 s; chmod 2777 s; touch s/r; mkdir s/q");
    let text = as_user(
        &kitchen,
        (65534, 7),
        &[7],
        "umask 027; cd /w; touch f; mkdir d; ln -s f l; mknod p p; echo x > t; echo y >> t; touch s/f; mkdir s/d; cp t c; \
         stat -c '%n %u:%g %a' f d l p t c s/f s/d s/r s/q",
    );
    assert_eq!(
        text,
        "f 65534:7 640\nd 65534:7 750\nl 65534:7 777\np 65534:7 640\nt 65534:7 640\nc 65534:7 640\n\
         s/f 65534:9 640\ns/d 65534:9 2750\ns/r 0:9 644\ns/q 0:9 2755\n"
    );
}

fn privileged_identities_are_told() {
    let kitchen = Kitchen::new();
    assert_eq!(
        as_user(&kitchen, (5, 6), &[6, 7], "id -u; id -g; id -G; (id -u; exec sh -c 'id -u')"),
        "5\n6\n6 7\n5\n5\n"
    );
    assert_eq!(as_user(&kitchen, (0, 0), &[0], "id -u; id -G; ulimit -x"), "0\n0\nunlimited\n");
}

fn privileged_only_an_owner_gives_away() {
    let kitchen = Kitchen::new();
    shell(&kitchen, "chmod 777 /w; touch r");
    let text = as_user(
        &kitchen,
        (5, 6),
        &[6, 7],
        "cd /w; touch f; chown 0 f 2>/dev/null || echo no; chown :8 f 2>/dev/null || echo no; chown :7 f && stat -c %u:%g f; \
         chown 5 r 2>/dev/null || echo no",
    );
    assert_eq!(text, "no\nno\n5:7\nno\n");
}

fn privileged_a_changed_root_leads_nowhere_else() {
    let kitchen = Kitchen::new();
    let text = shell(
        &kitchen,
        "mkdir -p j/bin j/etc; cp /bin/busybox j/bin; touch /etc/f j/etc/f; ln -s /etc/f j/link; \
         /bin/busybox chroot j /bin/busybox sh -c 'busybox chown 5 /link; busybox chown -h 6 /../link'; show j/etc/f j/link /etc/f",
    );
    assert_eq!(
        text,
        "j/etc/f 5:0 644 regular empty file\nj/link 6:0 777 symbolic link\n/etc/f 0:0 644 regular empty file\n"
    );
}

/// What is beside the sandbox's root on the host stays as it is.
fn privileged_paths_of_a_supervisor_end_at_the_root() {
    let kitchen = Kitchen::new();
    let target = kitchen.path("outside");
    fs_err::write(&target, "").unwrap();
    let before = fs_err::metadata(&target).unwrap();
    let host = target.display();
    let (_, text) = run(&kitchen.shell(&format!(
        "chown 5 {host}; chown 5 /../../../../../..{host}; cd /proc/1/root && chown 5 ../../..{host}; cd /proc/self/cwd; \
         chown 5 ../../../..{host}; ln -s /proc/1/root/../../..{host} /l; chown 5 /l; touch /../..{host}.new; mkdir {host}.d"
    )));
    use std::os::unix::fs::MetadataExt;
    let after = fs_err::metadata(&target).unwrap();
    assert_eq!((after.uid(), after.ctime_nsec()), (before.uid(), before.ctime_nsec()), "{text}");
    let beside = fs_err::read_dir(kitchen.dir.path()).unwrap().count();
    assert_eq!(beside, 4, "{text}");
}

fn privileged_many_ask_at_once() {
    let kitchen = Kitchen::new();
    let script = "chown 5 /bin/busybox; for i in 1 2 3 4 5 6 7 8; do (for j in 1 2 3 4 5 6 7 8 9 10; do stat -c %u \
                  /bin/busybox; done) & done; wait";
    let (first, mut out) = start(&kitchen.shell(script)).unwrap();
    let other = Kitchen::new();
    let text = output(&other.shell("stat -c %u /bin/busybox"));
    assert_eq!(text, "0\n", "each sandbox has its own");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut out, &mut text).unwrap();
    assert!(first.wait().unwrap().exit.success());
    assert_eq!(text, "5\n".repeat(80));
}

/// With ranges of ids the kernel refuses devices in a user namespace, and nothing makes them up.
fn privileged_devices_stand_in() {
    if userns::in_user_namespace() && !userns::has_one_id() {
        return;
    }
    let kitchen = Kitchen::new();
    let text = shell(
        &kitchen,
        "mknod -m 640 c c 1 3; mknod b b 259 70000; chown 5:6 c; show c b; stat -c '%t:%T' c b; cat c 2>&1 | head -c 0; mv c d; \
         show d",
    );
    assert_eq!(
        text,
        "c 5:6 640 character special file\nb 0:0 644 block special file\n1:3\n103:11170\n\
         d 5:6 640 character special file\n"
    );
}

/// Everything of root's that a supervisor does for a process, without the right to it.
fn privileged_what_is_dropped_is_not_done() {
    let kitchen = Kitchen::new();
    shell(&kitchen, "touch f; chown 5 f; mkdir d; chmod 777 /w");
    let mut spec = kitchen.shell(
        "cd /w; chown 7 f || echo no; chown :7 f || echo no; touch g; chown 7 g || echo no; chown 0:0 g && echo yes; \
         chown :9 g || echo no; mknod c c 1 3 || echo no; stat -c %u:%g f g; id -u",
    );
    for name in ["CHOWN", "MKNOD"] {
        spec.capabilities = spec.capabilities.without(name).unwrap();
    }
    let text = output(&spec);
    let told: Vec<&str> = text.lines().filter(|line| !line.contains(": ")).collect();
    assert_eq!(told, ["no", "no", "no", "yes", "no", "no", "5:0", "0:0", "0"], "{text}");
}

/// Whoever a program of a sandbox without the right to pass permissions by says it is, nobody makes its files with it.
fn privileged_files_are_made_with_no_more_rights() {
    let kitchen = Kitchen::new();
    shell(&kitchen, "mkdir d; chown 5 d; chmod 555 d; chmod 777 /w");
    let mut spec = kitchen.shell(
        "cd /w; touch d/f 2>/dev/null || echo no; mkdir d/d 2>/dev/null || echo no; mknod d/p p 2>/dev/null || echo no; \
         touch f; chmod 400 f; chown :6 f && stat -c %u:%g f",
    );
    spec.user = User { uid: 5, gid: 5, groups: vec![5, 6] };
    for name in ["DAC_OVERRIDE", "DAC_READ_SEARCH"] {
        spec.capabilities = spec.capabilities.without(name).unwrap();
    }
    assert_eq!(output(&spec), "no\nno\nno\n5:6\n");
}
