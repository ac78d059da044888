//! Trees, stores and clocks that are not as usual: deep, long, sparse, linked, many; of a newer program; set back; changing
//! while they are read.

use std::{ffi::OsString, os::unix::fs::MetadataExt, path::PathBuf};

use galley_testkit::Meddler;

use super::{super::Kitchen, writes, *};

/// Python can be told to walk where no path is short enough.
fn python(kitchen: &Kitchen, script: &str) -> String {
    let mut command = Command::new("python3");
    let output = command.args(["-SIc", script]).current_dir(kitchen.env.work()).output().unwrap();
    String::from_utf8_lossy(&succeeded(output).stdout).into_owned()
}

fn sound(kitchen: &Kitchen) {
    let output = kitchen.command(&["system", "check"]).output().unwrap();
    assert!(output.status.success() && text(&output).contains("nothing is damaged"), "{}", text(&output));
}

fn out(kitchen: &Kitchen, name: &str) -> (PathBuf, String) {
    let path = kitchen.path(name);
    let output = format!("type=local,dest={}", path.display());
    (path, output)
}

#[test]
fn two_hundred_levels_of_folders() {
    let Some(kitchen) = Kitchen::new() else { return };
    let deep = vec!["level"; 200].join("/");
    kitchen.env.write(&format!("tree/{deep}/leaf"), "leaf");
    kitchen.dockerfile(&format!(
        "FROM busybox\nCOPY tree /tree\nRUN cat /tree/{deep}/leaf > /found && cp -r /tree /again\n"
    ));
    let (path, output) = out(&kitchen, "out");
    kitchen.build(&["-t", "x", "-o", "type=image", "-o", &output, "."]);
    for place in ["tree", "again"] {
        assert_eq!(fs::read(path.join(place).join(&deep).join("leaf")).unwrap(), b"leaf");
    }
    sound(&kitchen);
    kitchen.galley(&["system", "prune", "-af"]);
}

/// Deeper than the longest path that the kernel takes at once: whoever reads that needs steps, which a build does not take.
#[test]
fn paths_of_more_than_four_thousand_bytes_are_refused() {
    let Some(kitchen) = Kitchen::new() else { return };
    let script = "import os\nos.mkdir('tree')\nat = os.open('tree', os.O_RDONLY)\nfor level in range(30):\n \
         name = b'\\xff' + b'n' * 254\n os.mkdir(name, dir_fd=at)\n at = os.open(name, os.O_RDONLY, dir_fd=at)\n\
         os.write(os.open('leaf', os.O_WRONLY | os.O_CREAT, dir_fd=at), b'leaf')";
    python(&kitchen, script);
    for file in ["FROM busybox\nCOPY tree /tree\nRUN true\n", "FROM scratch\nCOPY tree /tree\n"] {
        kitchen.dockerfile(file);
        for output in
            ["type=image", "type=oci,dest=../x.tar", "type=tar,dest=../x.tar", "type=local,dest=../x"]
        {
            let (code, said) = kitchen.build_fails(&["-o", output, "."]);
            assert_eq!(code, Some(1), "{output}: {said}");
            assert!(said.contains("the kernel takes 4095") && said.contains("shorter names"), "{said}");
            assert_eq!(said.matches("error: ").count(), 1, "{said}");
        }
    }
    sound(&kitchen);
    // As a build without this file.
    kitchen.env.write(".dockerignore", "tree/**/leaf");
    kitchen.build(&["-t", "x", "."]);
    kitchen.galley(&["system", "prune", "-af"]);
    assert_eq!(kitchen.galley(&["images", "-aq"]), "");
}

#[test]
fn names_of_255_bytes_that_are_no_text() {
    let Some(kitchen) = Kitchen::new() else { return };
    let names =
        [vec![0xff; 255], [b"\n\t ".as_slice(), &[0x80; 200]].concat(), b"-rf".to_vec(), b"\\".to_vec()];
    let at = |folder: &Path, name: &[u8]| folder.join("tree").join(OsStr::from_bytes(name));
    fs::create_dir_all(kitchen.env.work().join("tree")).unwrap();
    for name in &names {
        fs::write(at(&kitchen.env.work(), name), "content").unwrap();
    }
    kitchen.dockerfile("FROM busybox\nCOPY tree /tree\nRUN cp -r /tree /again\n");
    let (path, output) = out(&kitchen, "out");
    kitchen.build(&["-t", "x", "-o", "type=image", "-o", &output, "."]);
    for name in &names {
        assert_eq!(
            fs::read(at(&path, name)).unwrap(),
            b"content",
            "{:?}",
            OsString::from(OsStr::from_bytes(name))
        );
        assert_eq!(fs::read(path.join("again").join(OsStr::from_bytes(name))).unwrap(), b"content");
    }
    sound(&kitchen);
}

/// A sparse file takes no room in the store, in what is copied from it, and in what is exported.
fn sparse(size: u64) {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("sparse", "begin");
    let file = fs::OpenOptions::new().write(true).open(kitchen.env.work().join("sparse")).unwrap();
    file.set_len(size).unwrap();
    kitchen.dockerfile("FROM busybox\nCOPY sparse /sparse\nRUN stat -c %s /sparse > /size\n");
    let (path, output) = out(&kitchen, "out");
    let arguments = ["--progress=plain", "-t", "x", "-o", "type=image", "-o", &output, "."];
    let start = Instant::now();
    match Meddler::new() {
        Some(meddler) => {
            let (log, work, store) = (kitchen.path("reads"), kitchen.env.work(), kitchen.env.store());
            let reads = meddler.below(&[&work, &store]).calls("read,pread64").on("sparse").log(&log);
            succeeded(reads.command(&kitchen.build_command(&arguments)).output().unwrap());
            // What is read takes memory, zeros or not.
            let count = fs::read_to_string(log).unwrap().lines().count();
            assert!(count < 100, "{count} reads of a file with nothing in it");
        }
        None => drop(kitchen.build(&arguments)),
    }
    eprintln!("a sparse file of {} MB: {:?}", size >> 20, start.elapsed());
    let exported = fs::metadata(path.join("sparse")).unwrap();
    assert_eq!(exported.len(), size);
    assert!(exported.blocks() * 512 < 1 << 20, "the export takes {} bytes", exported.blocks() * 512);
    let mut command = Command::new("du");
    let said = succeeded(command.args(["-s", "-B1"]).arg(kitchen.env.store()).output().unwrap()).stdout;
    let used: u64 = String::from_utf8(said).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert!(used < 16 << 20, "the store takes {used} bytes");
}

#[test]
fn a_sparse_file_stays_sparse() {
    sparse(48 << 20);
}

#[test]
#[ignore = "takes minutes"]
fn a_sparse_file_of_50_gb_stays_sparse() {
    sparse(50 << 30);
}

/// A Dockerfile that unpacks one file with `count` names, and counts them.
fn link_farm(count: u64) -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    let names: Vec<String> = (1..count).map(|number| format!("link{number}")).collect();
    let links = names.iter().map(|name| TarEntry::Link(name, "file"));
    let farm: Vec<_> = [TarEntry::File("file", 0o644, b"content")].into_iter().chain(links).collect();
    kitchen.env.write("farm.tar", rootfs_tar(&farm));
    kitchen.dockerfile("FROM busybox\nADD farm.tar /farm/\nRUN stat -c %h /farm/file > /links\n");
    Some(kitchen)
}

#[test]
fn ten_thousand_names_of_one_file() {
    const COUNT: u64 = 10_000;
    let Some(kitchen) = link_farm(COUNT) else { return };
    let (path, output) = out(&kitchen, "out");
    kitchen.build(&["-t", "x", "-o", "type=image", "-o", &output, "."]);
    assert_eq!(fs::read_to_string(path.join("links")).unwrap(), "10000\n");
    assert_eq!(fs::metadata(path.join("farm/link7")).unwrap().nlink(), COUNT);
    sound(&kitchen);
}

/// More than ext4 has for a file, and than overlays on it: refused with what can be done, or all of them are there.
#[test]
fn a_hundred_thousand_names_of_one_file() {
    const COUNT: u64 = 100_000;
    let Some(kitchen) = link_farm(COUNT) else { return };
    let output = kitchen.build_command(&["--progress=plain", "-t", "x", "."]).output().unwrap();
    if output.status.success() {
        let said = kitchen.galley(&["run", "--rm", crate::e2e::offline(), "x", "cat", "/links"]);
        assert_eq!(said, format!("{COUNT}\n"));
    } else {
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("no file has more names") && said.contains("such as xfs"), "{said}");
    }
    sound(&kitchen);
    assert_eq!(leftovers(&kitchen), Vec::<String>::new());
}

/// So many layers of COPY, each with a RUN behind it every so often.
fn layers(count: usize, runs: usize) {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("f", "content");
    let line = |number: usize| {
        let run = number.is_multiple_of(runs).then(|| format!("RUN echo {number} > /run{number}\n"));
        format!("COPY f /copy{number}\n{}", run.unwrap_or_default())
    };
    let lines: String = (0..count).map(line).collect();
    kitchen.dockerfile(&format!("FROM busybox\n{lines}RUN ls -d /copy* | busybox wc -l > /count\n"));
    kitchen.build(&["-t", "x", "."]);
    let said = kitchen.galley(&["run", "--rm", crate::e2e::offline(), "x", "cat", "/count"]);
    assert_eq!(said, format!("{count}\n"));
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 0);
}

#[test]
fn three_hundred_layers() {
    layers(300, 100);
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_steps_and_copies() {
    layers(200, 1);
}

fn has_room(folder: &str, bytes: u64) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|found| found.f_bavail * found.f_frsize >= bytes)
}

#[test]
#[ignore = "takes minutes, 5 GB of memory or 8 GB in TMPDIR"]
fn a_million_files() {
    let Some(kitchen) = Kitchen::new() else { return };
    // A disk that discards what is freed takes half an hour to remove them.
    let memory = has_room("/dev/shm", 8 << 30).then(|| tempfile::tempdir_in("/dev/shm").unwrap());
    let tree = memory.as_ref().map_or_else(|| kitchen.path("tree"), |memory| memory.path().join("tree"));
    let script = format!(
        "import os\nfor folder in range(1000):\n os.makedirs(f'{{{tree:?}}}/{{folder}}')\n \
        for file in range(1000): open(f'{{{tree:?}}}/{{folder}}/{{file}}', 'w').write(str(file))"
    );
    python(&kitchen, &script);
    kitchen.dockerfile(
        "FROM busybox\nCOPY --from=tree . /tree\nRUN busybox find /tree -type f | busybox wc -l > /count\n",
    );
    let export = format!("type=oci,dest={}", kitchen.path("oci.tar").display());
    let layout = format!("busybox=oci-layout://{}", kitchen.path("busybox").display());
    let context = format!("tree={}", tree.display());
    for (what, output) in [("cold", ["-t", "x"]), ("a no-op", ["-t", "x"]), ("an export", ["-o", &export])] {
        let start = Instant::now();
        let build = ["build", "--progress=plain", "--build-context", &layout, "--build-context", &context];
        let peak = memory::peak(&kitchen, &[&build[..], &output, &["."]].concat());
        eprintln!("1,000,000 files, {what}: {:?}, {} MiB", start.elapsed(), peak >> 20);
        // An entry of a tree has some 200 bytes, and there are two or three trees at once.
        assert!(peak < 1 << 30, "{what} takes {} MiB", peak >> 20);
    }
    assert_eq!(kitchen.galley(&["run", "--rm", crate::e2e::offline(), "x", "cat", "/count"]), "1000000\n");
    assert_eq!(kitchen.build(&["--build-context", &context, "-t", "x", "."]).executed, 0);
    sound(&kitchen);
    kitchen.galley(&["system", "prune", "-af"]);
}

#[test]
fn a_store_of_another_program_or_user_is_refused() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    kitchen.build(&["-t", "x", "."]);
    let version = kitchen.env.store().join("version");
    let ours = fs::read_to_string(&version).unwrap();
    let before = temporary(&kitchen);
    for (theirs, says) in [
        ("{\"format\":99,\"id_map\":\"\"}\n", "use a newer galley"),
        ("{\"format\":1,\"id_map\":\"0:7777:1,1:500000:65536\"}\n", "use another folder with --root"),
        ("{\"form", "is damaged"),
        ("", "is damaged"),
    ] {
        fs::write(&version, theirs).unwrap();
        for arguments in [
            &["build", "-t", "y", "."][..],
            &["images"],
            &["system", "prune", "-af"],
            &["system", "check", "--repair"],
        ] {
            let (code, said) = failed(kitchen.command(arguments).output().unwrap());
            assert_eq!(code, Some(4), "{arguments:?}: {said}");
            assert!(said.contains(says), "{arguments:?}: {said}");
        }
        assert_eq!(fs::read_to_string(&version).unwrap(), theirs);
    }
    assert_eq!(temporary(&kitchen), before);
    // The oldest format is read, and what needs a newer one raises it.
    fs::write(&version, ours.replace("\"format\":2", "\"format\":1")).unwrap();
    kitchen.galley(&["inspect", "x"]);
    fs::write(&version, ours).unwrap();
    sound(&kitchen);
}

/// As if the clock had been a day ahead when everything was written.
#[test]
fn a_clock_that_was_set_back() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.env.write("f", "one");
    kitchen.dockerfile("FROM busybox\nCOPY f /f\nRUN cat /f > /g\n");
    kitchen.build(&["-t", "x", "."]);
    // Times of the files of a layer are what the layer says.
    let ahead = |folder: &Path| {
        let mut command = Command::new("sh");
        let script = "find . -path '*/diff*' -o -exec touch -h -d '+1 day' {} +";
        succeeded(command.args(["-c", script]).current_dir(folder).output().unwrap());
    };
    ahead(&kitchen.env.store());
    ahead(&kitchen.env.work());
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 0);
    // Another content of the same size and time.
    let modified = fs::metadata(kitchen.env.work().join("f")).unwrap().modified().unwrap();
    kitchen.env.write("f", "two");
    fs::File::options()
        .write(true)
        .open(kitchen.env.work().join("f"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 2);
    assert_eq!(kitchen.galley(&["run", "--rm", crate::e2e::offline(), "x", "cat", "/g"]), "two");
    sound(&kitchen);
    kitchen.galley(&["builder", "prune", "-af"]);
    sound(&kitchen);
    assert_eq!(kitchen.galley(&["run", "--rm", crate::e2e::offline(), "x", "cat", "/g"]), "two");
}

/// At each read and each copy of it: all of it is what it was or what it is, or the build says that it changed.
#[test]
fn a_file_that_changes_while_it_is_read() {
    let (Some(meddler), Some(kitchen)) = (Meddler::new(), Kitchen::new()) else { return };
    let (size, file) = (300_000, kitchen.env.work().join("data"));
    kitchen.dockerfile("FROM busybox\nCOPY data /data\nRUN cp /data /copy\n");
    let script = format!("head -c {size} /dev/zero | tr '\\0' b > {}", file.display());
    let calls = "read,pread64,copy_file_range,sendfile,ficlone,write,pwrite64,openat";
    let folders = [kitchen.env.work(), kitchen.env.store()];
    let (mut refused, mut built) = (0, 0);
    let calls_meant = writes::sample(40, 3, 1);
    for &nth in &calls_meant {
        fs::write(&file, vec![b'a'; size]).unwrap();
        let _ = fs::remove_dir_all(kitchen.env.store());
        let meddle = meddler.below(&[&folders[0], &folders[1]]).calls(calls).nth(nth).runs(&script);
        let command = kitchen.build_command(&["--progress=plain", "-t", "x", "."]);
        let output = meddle.command(&command).output().unwrap();
        if output.status.success() {
            built += 1;
            let said = kitchen.galley(&[
                "run",
                "--rm",
                crate::e2e::offline(),
                "x",
                "sh",
                "-c",
                "busybox cmp /data /copy; busybox tr -d a < /data | busybox wc -c",
            ]);
            assert!(["0\n", "300000\n"].contains(&said.as_str()), "a part of it at call {nth}: {said}");
        } else {
            refused += 1;
            assert!(text(&output).contains("changed while the build used it"), "{nth}: {}", text(&output));
            assert_eq!(output.status.code(), Some(1));
        }
        sound(&kitchen);
        kitchen.build(&["-t", "x", "."]);
        let said = kitchen.galley(&[
            "run",
            "--rm",
            crate::e2e::offline(),
            "x",
            "sh",
            "-c",
            "busybox tr -d a < /copy | busybox wc -c",
        ]);
        let now = fs::read(&file).unwrap().iter().filter(|byte| **byte == b'b').count();
        assert_eq!(said, format!("{now}\n"), "the next build after call {nth}");
    }
    eprintln!(
        "a file changed at {} calls: {refused} builds said so, {built} had one of its contents, lost: 0",
        calls_meant.len()
    );
}
