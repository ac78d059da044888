//! How fast it is, beside what it is made of: `cargo test --release -p galley-oci -- --ignored --nocapture speed`.

use std::{
    hint::black_box,
    io::{self, Cursor, Read, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use galley_oci::{
    BlobOptions, Digest, Entry, Kind, LayerSink, Meta, Stack, TimePolicy, Tree,
    compress::{Compression, GzipWriter, decoder},
    erofs, media_type, minimal, write_layer,
};

const MIB: usize = 1 << 20;

/// The best of three.
fn best(mut run: impl FnMut()) -> Duration {
    let mut time = || {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..3).map(|_| time()).min().unwrap_or_default()
}

fn show(what: &str, bytes: usize, time: Duration) {
    let rate = bytes as f64 / MIB as f64 / time.as_secs_f64();
    println!("{what:<44} {:>8.1} ms {rate:>8.0} MiB/s", time.as_secs_f64() * 1e3);
}

/// Programs of this machine, as a layer has them.
fn programs() -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in ["/usr/bin/python3.11", "/usr/bin/git", "/usr/bin/perl", "/bin/bash", "/usr/bin/gdb"] {
        if let Ok(mut file) = std::fs::OpenOptions::new().read(true).open(path) {
            file.read_to_end(&mut bytes).unwrap();
        }
    }
    let own = std::env::current_exe().unwrap();
    let mut file = std::fs::OpenOptions::new().read(true).open(own).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    while bytes.len() < 64 * MIB {
        let again = bytes.len().min(64 * MIB - bytes.len());
        bytes.extend_from_within(..again);
    }
    bytes.truncate(64 * MIB);
    bytes
}

/// As many files as a small distribution has, `layer` apart from other layers.
fn many_files(count: usize, layer: usize) -> Tree {
    let mut entries = vec![directory(String::new())];
    entries.extend((0..count / 20).map(|number| directory(format!("usr/share/package-{number:04}-{layer}"))));
    entries.extend([directory("usr".to_owned()), directory("usr/share".to_owned())]);
    entries.extend((0..count).map(|number| {
        Entry {
            path: format!("usr/share/package-{:04}-{layer}/some-file-{number:05}.txt", number / 20)
                .into_bytes()
                .into(),
            meta: Meta::new(0o644),
            kind: Kind::File { size: 0, digest: *Digest::blake3(b"").bytes(), links: None },
        }
    }));
    Tree::from_entries(entries)
}

fn directory(path: String) -> Entry {
    Entry { path: path.into_bytes().into(), meta: Meta::new(0o755), kind: Kind::Directory { opaque: false } }
}

#[test]
#[ignore = "measures"]
fn speed_of_trees() {
    let tree = many_files(20_000, 0);
    let encoded = tree.encode();
    println!("{} entries, {} bytes encoded", tree.entries().len(), encoded.len());
    show("decode", encoded.len(), best(|| drop(black_box(Tree::decode(&encoded)))));
    let look_up = || {
        let tree = Tree::decode_own(encoded.clone()).unwrap();
        black_box(tree.get(b"usr/share/package-0003-0/some-file-00070.txt").is_some());
    };
    show("look one path up in the encoded one", encoded.len(), best(look_up));
    show(
        "encode and hash",
        encoded.len(),
        best(|| {
            black_box(tree.layer_id());
        }),
    );
    let layers: Vec<Arc<Tree>> = (0..20).map(|layer| Arc::new(many_files(1000, layer))).collect();
    let mut stack = Stack::new(vec![Arc::new(tree)]);
    layers.into_iter().for_each(|layer| stack.push(layer));
    show("walk 21 layers, 40,000 files", 0, best(|| drop(black_box(stack.walk(b"")))));
    let small = Tree::from_entries(vec![directory("app".to_owned())]);
    show(
        "minimal layer of one directory on them",
        0,
        best(|| drop(black_box(minimal(small.clone(), &stack)))),
    );
    let large = many_files(20_000, 99);
    show(
        "minimal layer of 20,000 files on them",
        0,
        best(|| drop(black_box(minimal(large.clone(), &stack)))),
    );
    let resolve = || {
        drop(black_box(
            stack.resolve(b"usr/share/package-0003-0/some-file-00070.txt", galley_oci::Last::Follow),
        ))
    };
    show("resolve one path in them", 0, best(resolve));
}

#[test]
#[ignore = "measures"]
fn speed_of_layers() {
    let bytes = programs();
    let size = bytes.len();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    show(
        "sha-256",
        size,
        best(|| {
            black_box(Digest::sha256(&bytes));
        }),
    );
    show(
        "blake3",
        size,
        best(|| {
            black_box(Digest::blake3(&bytes));
        }),
    );
    let mut compressed = 0;
    for threads in [1, threads] {
        let time = best(|| {
            let mut writer = GzipWriter::new(Vec::new(), 6, threads).unwrap();
            writer.write_all(&bytes).unwrap();
            compressed = writer.finish().unwrap().len();
        });
        show(&format!("gzip -6 on {threads} threads"), size, time);
    }
    let plain = best(|| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&bytes).unwrap();
        let serial = encoder.finish().unwrap().len();
        println!("{} KiB in blocks, {} KiB in one piece", compressed >> 10, serial >> 10);
    });
    show("gzip -6, the library alone", size, plain);
    let sink = |compression| {
        best(|| {
            let media_type = media_type::oci_layer(compression);
            let options = BlobOptions { compression, level: None, threads, media_type };
            let mut sink = LayerSink::new(io::sink(), &options).unwrap();
            sink.write_all(&bytes).unwrap();
            black_box(sink.finish().unwrap());
        })
    };
    show("layer sink, gzip", size, sink(Compression::Gzip));
    show("layer sink, zstd", size, sink(Compression::Zstd));
    show("layer sink, uncompressed", size, sink(Compression::None));
    let diff_id = best(|| {
        let mut sink = LayerSink::diff_id().unwrap();
        sink.write_all(&bytes).unwrap();
        black_box(sink.finish().unwrap());
    });
    show("layer sink, diffID alone", size, diff_id);
    let mut gzip = GzipWriter::new(Vec::new(), 6, threads).unwrap();
    gzip.write_all(&bytes).unwrap();
    let gzip = gzip.finish().unwrap();
    let gunzip = best(|| {
        io::copy(&mut decoder(Box::new(Cursor::new(gzip.clone()))).unwrap(), &mut io::sink()).unwrap();
    });
    show("gunzip", size, gunzip);
}

#[test]
#[ignore = "measures"]
fn speed_of_small_files() {
    let tree = many_files(20_000, 0);
    let time = best(|| {
        let mut open = |_| -> io::Result<Box<dyn Read>> { Ok(Box::new(io::empty())) };
        let mut sink = LayerSink::diff_id().unwrap();
        write_layer(&tree, TimePolicy::Keep, &mut open, &mut sink).unwrap();
        black_box(sink.finish().unwrap());
    });
    show("diffID of 20,000 empty files", 20_000 * 512, time);
}

/// Sizes as in the base image of a compiler: many small files, few large ones, `total` bytes together.
fn sizes(count: usize, total: usize) -> Vec<usize> {
    let weight = |number: usize| 1.0 / (1.0 - (number as f64 + 0.5) / count as f64);
    let sum: f64 = (0..count).map(weight).sum();
    // No order of sizes: large ones come between small ones.
    let shuffled = |number: usize| number * 7919 % count;
    (0..count).map(|number| (weight(shuffled(number)) / sum * total as f64) as usize).collect()
}

fn file_of(path: String, size: u64) -> Entry {
    let kind = Kind::File { size, digest: [0; 32], links: None };
    Entry { path: path.into_bytes().into(), meta: Meta::new(0o644), kind }
}

fn new_file() -> std::fs::File {
    let path = std::env::temp_dir().join(format!("galley-speed-{}", std::process::id()));
    let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
    std::process::Command::new("rm").arg(&path).status().unwrap();
    file.unwrap()
}

#[test]
#[ignore = "measures"]
fn speed_of_packing() {
    const FILES: usize = 20_000;
    let bytes = programs();
    let sizes = sizes(FILES, 500 * MIB);
    let total: usize = sizes.iter().sum();
    let plain = best(|| {
        let mut file = new_file();
        let mut left = total;
        while left > 0 {
            let piece = left.min(128 << 10);
            file.write_all(&bytes[left % MIB..][..piece]).unwrap();
            left -= piece;
        }
    });
    show("the same bytes into a file", total, plain);
    let mut entries = vec![directory(String::new())];
    let path = |number: usize| format!("usr/share/package-{:04}/file-{number:05}.txt", number / 20);
    entries.extend(["usr".to_owned(), "usr/share".to_owned()].map(directory));
    entries.extend((0..FILES / 20).map(|number| directory(format!("usr/share/package-{number:04}"))));
    entries.extend(sizes.iter().enumerate().map(|(number, size)| file_of(path(number), *size as u64)));
    let tree = Tree::from_entries(entries);
    let index = |number: usize| tree.position(path(number).as_bytes()).unwrap();
    let indexes: Vec<usize> = (0..FILES).map(index).collect();
    let mut length = 0;
    let packed = best(|| {
        let mut writer = erofs::Writer::new(new_file()).unwrap();
        let mut contents = vec![None; tree.entries().len()];
        for (number, size) in sizes.iter().enumerate() {
            let mut file = writer.file();
            let mut left = *size;
            while left > 0 {
                let piece = left.min(128 << 10);
                file.write_all(&bytes[left % MIB..][..piece]).unwrap();
                left -= piece;
            }
            contents[indexes[number]] = Some(file.finish());
        }
        length = writer.finish(&tree, |index| contents[index]).unwrap().metadata().unwrap().len();
    });
    show("packed", total, packed);
    println!(
        "{total} bytes in {FILES} files take {length} bytes, {:.1} % more",
        (length as f64 / total as f64 - 1.0) * 100.0
    );
}

#[test]
#[ignore = "measures"]
fn speed_of_packed_metadata() {
    let tree = many_files(300_000, 0);
    let pack = || erofs::Writer::new(Cursor::new(Vec::new())).unwrap().finish(&tree, |_| None).unwrap();
    let packed = pack().into_inner();
    println!("{} entries take {} bytes", tree.entries().len(), packed.len());
    show("inodes and directories", packed.len(), best(|| drop(black_box(pack()))));
    let reader = erofs::Reader::open(&packed[..]).unwrap();
    let walk = || assert_eq!(reader.walk().filter(|record| record.is_ok()).count(), tree.entries().len());
    show("all read back", packed.len(), best(walk));
    let find = || {
        tree.entries().iter().take(10_000).for_each(|entry| drop(reader.find(&entry.path).unwrap().unwrap()))
    };
    show("10,000 found by path", 0, best(find));
}
