//! `--reproducible`: one manifest digest, whoever builds, wherever, however often.

use fs_err as fs;
use serde_json::Value;

use super::{Kitchen, succeeded};

const DOCKERFILE: &str = "FROM busybox AS b\nCOPY . /src\nRUN cat /src/a /src/d/e > /out; ln /out /out2; mkdir -m 700 /p; \
     chown 3:4 /p\nFROM scratch\nCOPY --from=b /out /out2 /p /x/\nWORKDIR /w/v\nLABEL b=2 a=1\nCMD [\"/x\"]\n";

fn digest(kitchen: &Kitchen, arguments: &[&str]) -> String {
    let output = ["--reproducible", "-o", "type=oci,dest=r.tar", "--metadata-file", "m.json"];
    let arguments = [&output[..], arguments, &["."]].concat();
    succeeded(kitchen.build_command(&arguments).output().unwrap());
    let metadata: Value =
        serde_json::from_slice(&fs::read(kitchen.env.work().join("m.json")).unwrap()).unwrap();
    metadata["containerimage.digest"].as_str().unwrap().to_owned()
}

fn kitchen(mtime: u64) -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.dockerfile(DOCKERFILE);
    kitchen.env.write(".dockerignore", "*.tar\nm.json\n");
    for name in ["a", "d/e"] {
        kitchen.env.write(name, name);
        let file = std::fs::OpenOptions::new().write(true).open(kitchen.env.work().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(mtime)).unwrap();
    }
    Some(kitchen)
}

#[test]
fn the_digest_does_not_depend_on_path_time_jobs_or_cache() {
    let Some(first) = kitchen(1_500_000_000) else { return };
    let Some(second) = kitchen(1_700_000_000) else { return };
    let expected = digest(&first, &["--jobs", "1"]);
    assert_eq!(digest(&first, &["--jobs", "8"]), expected);
    assert_eq!(digest(&first, &["--no-cache"]), expected);
    assert_eq!(digest(&second, &["--jobs", "8"]), expected);
}

#[test]
fn source_date_epoch_sets_created_and_nothing_else_by_itself() {
    let Some(kitchen) = kitchen(1_500_000_000) else { return };
    let mut build = kitchen.build_command(&["-t", "x", "."]);
    succeeded(build.env("SOURCE_DATE_EPOCH", "86400").output().unwrap());
    let created = kitchen.galley(&["inspect", "--format", "{{.Created}}", "x"]);
    assert_eq!(created.trim(), "1970-01-02T00:00:00Z");
}

#[test]
fn a_timestamp_is_on_every_file() {
    let Some(kitchen) = kitchen(1_500_000_000) else { return };
    kitchen.build(&["--timestamp", "86400", "-o", "type=oci,tar=false,dest=layout", "."]);
    let blobs = kitchen.env.work().join("layout/blobs/sha256");
    let mut seen = 0;
    for blob in fs::read_dir(blobs).unwrap() {
        let listing = kitchen
            .env
            .command("tar")
            .args(["--full-time", "-tvzf"])
            .arg(blob.unwrap().path())
            .output()
            .unwrap();
        if listing.status.success() {
            for line in String::from_utf8_lossy(&listing.stdout).lines() {
                assert!(line.contains("1970-01-02 00:00:00"), "{line}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "only {seen} files were looked at");
}
