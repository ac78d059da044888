use std::{
    io::{self, Cursor, Read},
    sync::atomic::{AtomicU64, Ordering},
};

use galley_oci::{Descriptor, Digest};
use galley_registry::{Kind, Uploaded};
use galley_testkit::registry::{Auth, Fault, Registry, Rule};

use crate::support::{Machine, client, failure, noise, reference, upload, upload_from};

const UPLOADS: &str = "/v2/library/app/blobs/uploads/*";

#[track_caller]
fn assert_arrived(registry: &Registry, bytes: &[u8]) {
    let stored = registry.blob("library/app", &Digest::sha256(bytes));
    assert!(stored.is_some_and(|stored| stored == bytes), "it is not there");
}

fn in_chunks(bytes: u64) -> Machine {
    Machine::new().limits(|limits| limits.upload_chunk_bytes = Some(bytes))
}

#[test]
fn whole() {
    for length in [0, 1, 70_000, 3 << 20] {
        let registry = Registry::start();
        let bytes = noise(length);
        assert_eq!(upload(&client(), &reference(&registry, "library/app"), &bytes).unwrap(), Uploaded::Sent);
        assert_arrived(&registry, &bytes);
        assert_eq!(registry.bytes_received(UPLOADS), length as u64);
        assert_eq!(registry.count("PATCH", UPLOADS), 0);
        let puts = registry.matching("PUT", UPLOADS);
        assert_eq!(puts.len(), 1);
        assert_eq!(puts[0].header("content-length"), Some(length.to_string().as_str()));
        assert!(puts[0].header("transfer-encoding").is_none());
        assert_eq!(registry.open_uploads(), 0);
    }
}

#[test]
fn progress_is_told() {
    let registry = Registry::start();
    let bytes = noise(300_000);
    let blob = Descriptor::of("application/octet-stream", &bytes);
    let content = || Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>) as io::Result<_>;
    let most = AtomicU64::new(0);
    let progress = |sent| _ = most.fetch_max(sent, Ordering::SeqCst);
    client().upload(&reference(&registry, "library/app"), &blob, &content, &[], &progress).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 300_000);
}

#[test]
fn what_is_there_is_not_sent() {
    let registry = Registry::start();
    let bytes = noise(70_000);
    registry.put_blob("library/app", &bytes);
    assert_eq!(upload(&client(), &reference(&registry, "library/app"), &bytes).unwrap(), Uploaded::Present);
    assert_eq!(registry.bytes_received("*"), 0);
    assert_eq!(registry.count("POST", "*"), 0);
}

#[test]
fn what_is_in_another_repository_is_mounted() {
    let registry = Registry::start();
    let bytes = noise(70_000);
    registry.put_blob("library/base", &bytes);
    let from = [reference(&registry, "library/empty"), reference(&registry, "library/base")];
    let done = upload_from(&client(), &reference(&registry, "library/app"), &bytes, &from).unwrap();
    assert_eq!(done, Uploaded::Mounted(from[1].clone()));
    assert_arrived(&registry, &bytes);
    assert_eq!(registry.bytes_received("*"), 0);
    assert_eq!(registry.open_uploads(), 0, "the mount that failed left nothing behind");
}

#[test]
fn mounts_that_fail_become_uploads() {
    let bytes = noise(70_000);
    for fault in [Fault::None, Fault::status(404), Fault::status(405), Fault::status(403), Fault::status(400)]
    {
        let registry = Registry::start();
        registry.inject(Rule::on("POST", UPLOADS, fault));
        let from = [reference(&registry, "library/empty")];
        let done = upload_from(&client(), &reference(&registry, "library/app"), &bytes, &from).unwrap();
        assert_eq!(done, Uploaded::Sent);
        assert_arrived(&registry, &bytes);
        assert_eq!(registry.open_uploads(), 0);
    }
}

#[test]
fn nothing_is_mounted_from_other_registries() {
    let (registry, other) = (Registry::start(), Registry::start());
    other.put_blob("library/base", b"bytes");
    let from = [reference(&other, "library/base")];
    let done = upload_from(&client(), &reference(&registry, "library/app"), b"bytes", &from).unwrap();
    assert_eq!(done, Uploaded::Sent);
    assert!(registry.matching("POST", UPLOADS).iter().all(|request| !request.target.contains("mount")));
    assert!(other.requests().is_empty());
}

#[test]
fn in_pieces() {
    let registry = Registry::start();
    let bytes = noise(95_000);
    upload(&in_chunks(20_000).client(), &reference(&registry, "library/app"), &bytes).unwrap();
    assert_arrived(&registry, &bytes);
    let ranges: Vec<String> = registry
        .matching("PATCH", UPLOADS)
        .iter()
        .map(|r| r.header("content-range").unwrap().to_owned())
        .collect();
    assert_eq!(ranges, ["0-19999", "20000-39999", "40000-59999", "60000-79999", "80000-94999"]);
    assert_eq!(registry.bytes_received("*"), 95_000);
}

#[test]
fn pieces_are_as_large_as_the_registry_wants() {
    let registry = Registry::builder().chunk_min(40_000).start();
    let bytes = noise(95_000);
    upload(&in_chunks(20_000).client(), &reference(&registry, "library/app"), &bytes).unwrap();
    assert_arrived(&registry, &bytes);
    let sizes: Vec<u64> =
        registry.matching("PATCH", UPLOADS).iter().map(|request| request.received).collect();
    assert_eq!(sizes, [40_000, 40_000, 15_000]);
}

#[test]
fn addresses_in_full() {
    let registry = Registry::builder().absolute_locations().start();
    let bytes = noise(50_000);
    upload(&in_chunks(20_000).client(), &reference(&registry, "library/app"), &bytes).unwrap();
    assert_arrived(&registry, &bytes);
}

#[test]
fn registries_that_want_pieces() {
    for status in [413, 405, 415] {
        let registry = Registry::start();
        let bytes = noise(95_000);
        registry.inject(Rule::on("PUT", UPLOADS, Fault::status(status)));
        let machine = Machine::new().limits(|limits| limits.fallback_chunk_bytes = 50_000);
        upload(&machine.client(), &reference(&registry, "library/app"), &bytes).unwrap();
        assert_arrived(&registry, &bytes);
        assert_eq!(registry.count("PATCH", UPLOADS), 2, "{status}");
    }
}

#[test]
fn uploads_that_are_cut() {
    let bytes = noise(300_000);
    for keep in [false, true] {
        for after in [0, 1, 100_000, 299_999] {
            for machine in [Machine::new(), in_chunks(250_000)] {
                for method in ["PUT", "PATCH"] {
                    let registry = Registry::start();
                    registry.inject(Rule::on(method, UPLOADS, Fault::CutUpload { after, keep }));
                    let done = upload(&machine.client(), &reference(&registry, "library/app"), &bytes);
                    assert!(done.is_ok(), "{method} cut after {after}, kept {keep}: {done:?}");
                    assert_arrived(&registry, &bytes);
                }
            }
        }
    }
}

#[test]
fn a_cut_upload_goes_on_where_it_was() {
    let bytes = noise(3 << 20);
    let registry = Registry::start();
    registry.inject(Rule::on("PATCH", UPLOADS, Fault::CutUpload { after: 2 << 20, keep: true }));
    upload(&in_chunks(5 << 19).client(), &reference(&registry, "library/app"), &bytes).unwrap();
    assert_arrived(&registry, &bytes);
    assert_eq!(registry.bytes_received(UPLOADS), 3 << 20, "no byte was taken twice");
}

#[test]
fn a_piece_that_is_taken_in_part() {
    let bytes = noise(95_000);
    let registry = Registry::start();
    registry.inject(Rule::on("PATCH", UPLOADS, Fault::PartialPatch(7_000)).skip(1).times(2));
    upload(&in_chunks(20_000).client(), &reference(&registry, "library/app"), &bytes).unwrap();
    assert_arrived(&registry, &bytes);
}

#[test]
fn a_registry_that_cannot_make_up_its_mind() {
    let registry = Registry::start();
    let answer = |range: &str| {
        let location = "/v2/library/app/blobs/uploads/upload-1?_state=0";
        let headers =
            vec![("Range".to_owned(), range.to_owned()), ("Location".to_owned(), location.to_owned())];
        Fault::Answer { status: 416, headers, body: vec![] }
    };
    let answers = (0..2_000).map(|number| answer(["0-5", "0-9"][number % 2]));
    registry.script("PATCH", UPLOADS, answers);
    upload(&in_chunks(1_000).client(), &reference(&registry, "library/app"), &noise(95_000))
        .expect_err("no progress");
    let requests = registry.count("PATCH", UPLOADS);
    assert!(requests < 200, "{requests} requests");
}

#[test]
fn a_lost_upload_begins_again() {
    let bytes = noise(95_000);
    for method in ["PATCH", "PUT"] {
        for skip in [0, 2] {
            let registry = Registry::start();
            registry.inject(Rule::on(method, UPLOADS, Fault::LoseUpload).skip(skip));
            upload(&in_chunks(20_000).client(), &reference(&registry, "library/app"), &bytes).unwrap();
            assert_arrived(&registry, &bytes);
        }
    }
    let registry = Registry::start();
    registry.inject(Rule::on("PUT", UPLOADS, Fault::LoseUpload).always());
    failure(upload(&client(), &reference(&registry, "library/app"), &bytes), Kind::Unreachable);
    assert!(registry.count("PUT", UPLOADS) < 10);
}

#[test]
fn an_answer_that_is_lost() {
    let bytes = noise(95_000);
    for machine in [Machine::new(), in_chunks(20_000)] {
        for (method, skip) in [("POST", 0), ("PATCH", 0), ("PATCH", 4), ("PUT", 0)] {
            let registry = Registry::start();
            registry.inject(Rule::on(method, UPLOADS, Fault::NoAnswer).skip(skip));
            let done = upload(&machine.client(), &reference(&registry, "library/app"), &bytes);
            assert!(done.is_ok(), "{method} {skip}: {done:?}");
            assert_arrived(&registry, &bytes);
        }
    }
}

#[test]
fn failures_that_pass() {
    let bytes = noise(95_000);
    for fault in [Fault::status(500), Fault::status(503), Fault::too_many("0"), Fault::Reset, Fault::Hang] {
        for method in ["HEAD", "POST", "PATCH", "PUT"] {
            let registry = Registry::start();
            registry.inject(Rule::on(method, "/v2/library/app/*", fault.clone()));
            let machine = in_chunks(50_000).against(&fault);
            let done = upload(&machine.client(), &reference(&registry, "library/app"), &bytes);
            assert!(done.is_ok(), "{method} {fault:?}: {done:?}");
            assert_arrived(&registry, &bytes);
        }
    }
}

#[test]
fn failures_that_stay() {
    for (fault, kind) in [
        (Fault::status(500), Kind::Unreachable),
        (Fault::status(403), Kind::Denied),
        (Fault::html(), Kind::Lied),
        (Fault::Hang, Kind::Unreachable),
    ] {
        let registry = Registry::start();
        registry.inject(Rule::on("POST", UPLOADS, fault.clone()).always());
        let client = Machine::new().against(&fault).client();
        let result = upload(&client, &reference(&registry, "library/app"), b"bytes");
        let error = result.expect_err("a failure");
        // A page instead of an upload is as little an answer as none.
        assert!(error.kind() == kind || error.kind() == Kind::Unreachable, "{fault:?}: {error:?}");
        assert!(registry.count("POST", UPLOADS) <= 4, "{fault:?}");
    }
}

#[test]
fn addresses_that_make_no_sense() {
    for location in [None, Some(""), Some("http://"), Some("ftp://x/y"), Some("http://u:s3cret@127.0.0.1/")] {
        let registry = Registry::start();
        let header = Fault::Header("Location", location.map(ToOwned::to_owned));
        registry.inject(Rule::on("POST", UPLOADS, header).always());
        upload(&client(), &reference(&registry, "library/app"), b"bytes").expect_err("no address");
        assert!(registry.requests().len() < 30, "{location:?}");
    }
}

#[test]
fn a_registry_that_says_it_has_something_else() {
    let registry = Registry::start();
    let other = Some(Digest::sha256(b"other").to_string());
    registry.inject(Rule::on("PUT", UPLOADS, Fault::Header("Docker-Content-Digest", other)));
    failure(upload(&client(), &reference(&registry, "library/app"), b"bytes"), Kind::Lied);
}

#[test]
fn content_that_is_not_what_it_should_be() {
    let registry = Registry::start();
    let app = reference(&registry, "library/app");
    let blob = Descriptor::of("application/octet-stream", &noise(50_000));
    let content = |bytes: Vec<u8>| {
        move || Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>) as io::Result<_>
    };
    let other = noise(50_001)[1..].to_vec();
    client().upload(&app, &blob, &content(other), &[], &|_| {}).expect_err("another digest");
    failure(client().upload(&app, &blob, &content(noise(10)), &[], &|_| {}), Kind::Io);
    let broken = || Err(io::Error::other("the disk is on fire"));
    let error = failure(client().upload(&app, &blob, &broken, &[], &|_| {}), Kind::Io);
    assert!(std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("fire")));
    assert!(registry.blob("library/app", &blob.digest).is_none());
    // Never more than it has.
    client().upload(&app, &blob, &content(noise(50_001)), &[], &|_| {}).unwrap();
}

/// Answers that come while the body, which is larger than the buffers between the two, is not read.
#[test]
fn early_answers_are_heard() {
    let bytes = noise(16 << 20);
    let put = |fault: Fault| {
        let registry = Registry::start();
        registry.inject(Rule::on("PUT", UPLOADS, fault));
        (upload(&client(), &reference(&registry, "library/app"), &bytes), registry)
    };
    let (done, registry) = put(Fault::Early(413));
    assert!(done.is_ok(), "{done:?}");
    assert_arrived(&registry, &bytes);
    assert_eq!(registry.count("PATCH", UPLOADS), 4, "too large as a whole, so in pieces of 4 MiB");
    let (done, registry) = put(Fault::Early(503));
    assert!(done.is_ok(), "{done:?}");
    assert_arrived(&registry, &bytes);
    let (refused, registry) = put(Fault::Early(403));
    failure(refused, Kind::Denied);
    assert_eq!(registry.count("PUT", UPLOADS), 1);
}

#[test]
fn an_upload_without_a_password() {
    let registry = Registry::builder().auth(Auth::token()).start();
    let error = failure(upload(&client(), &reference(&registry, "library/app"), b"bytes"), Kind::Denied);
    assert!(error.to_string().contains("galley login"), "{error}");
    assert_eq!(registry.bytes_received("*"), 0);
}
