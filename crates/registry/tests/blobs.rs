use std::{io::Read, thread, time::Duration};

use galley_oci::Descriptor;
use galley_registry::Kind;
use galley_testkit::registry::{Fault, Registry, Rule};

use crate::support::{Machine, client, failure, fetch, limits, noise, reference};

const BLOBS: &str = "/v2/library/app/blobs/*";

fn with_blob(bytes: &[u8]) -> (Registry, Descriptor) {
    let registry = Registry::start();
    let blob = registry.put_blob("library/app", bytes);
    (registry, blob)
}

/// The first bytes that were asked for, request by request.
fn begins(registry: &Registry) -> Vec<u64> {
    let begin =
        |range: &str| range.strip_prefix("bytes=").unwrap().split('-').next().unwrap().parse().unwrap();
    registry.matching("GET", BLOBS).iter().map(|request| request.header("range").map_or(0, begin)).collect()
}

#[test]
fn whole_and_empty() {
    for length in [0, 1, 70_000, 3 << 20] {
        let bytes = noise(length);
        let (registry, blob) = with_blob(&bytes);
        assert!(fetch(&client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes, "{length}");
        assert_eq!(registry.bytes_sent(BLOBS), length as u64);
    }
}

#[test]
fn present_or_not() {
    let (registry, blob) = with_blob(b"here");
    let client = client();
    assert!(client.has_blob(&reference(&registry, "library/app"), &blob).unwrap());
    assert!(!client.has_blob(&reference(&registry, "library/other"), &blob).unwrap());
    let absent = Descriptor::of("application/octet-stream", b"not here");
    failure(fetch(&client, &reference(&registry, "library/app"), &absent), Kind::NotFound);
    assert_eq!(registry.bytes_sent("/v2/*/blobs/*") - registry.bytes_sent(&format!("*{}", absent.digest)), 0);
}

#[test]
fn a_cut_goes_on_where_it_was() {
    let bytes = noise(300_000);
    for reset in [false, true] {
        let (registry, blob) = with_blob(&bytes);
        registry.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 100_000, reset }));
        assert!(fetch(&client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes);
        assert_eq!(registry.count("GET", BLOBS), 2);
        let again = begins(&registry)[1];
        // A reset may take bytes with it that were under way; without one, all that came is kept.
        assert!(again <= 100_000 && (reset || again == 100_000), "from {again}");
        assert_eq!(registry.bytes_sent(BLOBS), 400_000 - again);
    }
}

#[test]
fn cuts_without_number_are_survived_as_long_as_bytes_come() {
    let bytes = noise(100_000);
    let (registry, blob) = with_blob(&bytes);
    registry.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 5_000, reset: false }).times(19));
    assert!(fetch(&client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes);
    assert_eq!(registry.count("GET", BLOBS), 20, "many more than {}", limits().attempts);
    assert_eq!(registry.bytes_sent(BLOBS), 100_000, "no byte twice");
}

#[test]
fn cuts_without_a_byte_are_not() {
    let (registry, blob) = with_blob(&noise(100_000));
    registry.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 5_000, reset: false }));
    registry.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 0, reset: false }).always());
    failure(fetch(&client(), &reference(&registry, "library/app"), &blob), Kind::Unreachable);
    let requests = registry.count("GET", BLOBS);
    assert!(requests <= 1 + limits().attempts as usize, "{requests}");
}

#[test]
fn statuses_between_the_parts() {
    let bytes = noise(100_000);
    let (registry, blob) = with_blob(&bytes);
    let cut = Fault::Cut { after: 50_000, reset: false };
    registry.script("GET", BLOBS, [cut, Fault::status(503), Fault::too_many("0"), Fault::NoAnswer]);
    // A cut, then three failures in a row, which is one less than there may be.
    let machine = Machine::new().limits(|limits| limits.attempts = 6);
    assert!(fetch(&machine.client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes);
    assert_eq!(begins(&registry), [0, 50_000, 50_000, 50_000, 50_000]);
}

#[test]
fn a_server_that_knows_no_ranges() {
    let bytes = noise(100_000);
    let (registry, blob) = with_blob(&bytes);
    registry.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 60_000, reset: false }));
    registry.inject(Rule::on("GET", BLOBS, Fault::IgnoreRange).always());
    assert!(fetch(&client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes);
    assert_eq!(registry.bytes_sent(BLOBS), 160_000);
}

#[test]
fn a_server_that_refuses_ranges() {
    let bytes = noise(100_000);
    let (registry, blob) = with_blob(&bytes);
    registry.script("GET", BLOBS, [Fault::Cut { after: 60_000, reset: false }, Fault::status(416)]);
    let result = fetch(&client(), &reference(&registry, "library/app"), &blob);
    match result {
        Ok(found) => assert!(found == bytes),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_part_from_elsewhere() {
    let bytes = noise(100_000);
    let (registry, blob) = with_blob(&bytes);
    let wrong = Some("bytes 1-99999/100000".to_owned());
    registry.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 60_000, reset: false }));
    registry.inject(Rule::on("GET", BLOBS, Fault::Header("Content-Range", wrong)).always());
    failure(fetch(&client(), &reference(&registry, "library/app"), &blob), Kind::Lied);
}

#[test]
fn other_bytes_than_the_digest_says() {
    let bytes = noise(100_000);
    let other = noise(100_001)[1..].to_vec();
    let longer = noise(100_001);
    for fault in [
        Fault::Corrupt,
        Fault::Body(other),
        Fault::Body(longer),
        Fault::Body(noise(99_999)),
        Fault::Body(Vec::new()),
        Fault::html(),
        Fault::LengthOff(-1),
        Fault::LengthOff(1),
        Fault::Huge(100_000),
    ] {
        let (registry, blob) = with_blob(&bytes);
        registry.inject(Rule::on("GET", BLOBS, fault.clone()).always());
        let error = fetch(&client(), &reference(&registry, "library/app"), &blob).expect_err("a lie");
        let name = format!("{fault:?}");
        assert_eq!(error.kind(), Kind::Lied, "{}: {error:?}", &name[..name.len().min(40)]);
    }
}

#[test]
fn the_second_part_of_another_blob() {
    let (registry, blob) = with_blob(&noise(100_000));
    registry.inject(Rule::on("GET", BLOBS, Fault::Cut { after: 60_000, reset: false }));
    registry.inject(Rule::on("GET", BLOBS, Fault::Corrupt));
    failure(fetch(&client(), &reference(&registry, "library/app"), &blob), Kind::Lied);
}

#[test]
fn bodies_without_end_are_left() {
    let (registry, blob) = with_blob(&noise(100_000));
    registry.inject(Rule::on("GET", BLOBS, Fault::Endless).always());
    failure(fetch(&client(), &reference(&registry, "library/app"), &blob), Kind::Lied);
    assert_eq!(registry.count("GET", BLOBS), 1);
    // What the buffers between the two hold is not read.
    assert!(registry.bytes_sent(BLOBS) < 64 << 20, "{} bytes", registry.bytes_sent(BLOBS));
}

#[test]
fn a_body_without_length() {
    let bytes = noise(100_000);
    let (registry, blob) = with_blob(&bytes);
    registry.inject(Rule::on("GET", BLOBS, Fault::NoLength));
    assert!(fetch(&client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes);
}

#[test]
fn a_body_in_chunks() {
    let bytes = noise(100_000);
    for after in [100_000, 60_000, 0] {
        let (registry, blob) = with_blob(&bytes);
        registry.inject(Rule::on("GET", BLOBS, Fault::Chunked { after }));
        assert!(fetch(&client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes, "{after}");
        assert_eq!(registry.bytes_sent(BLOBS), 100_000, "{after}");
    }
    let (registry, blob) = with_blob(&noise(100_001)[..100_000]);
    registry.put_blob_as("library/app", &blob.digest, &noise(100_001));
    registry.inject(Rule::on("GET", BLOBS, Fault::Chunked { after: u64::MAX }).always());
    failure(fetch(&client(), &reference(&registry, "library/app"), &blob), Kind::Lied);
    registry.put_blob_as("library/app", &blob.digest, &noise(99_999));
    failure(fetch(&client(), &reference(&registry, "library/app"), &blob), Kind::Lied);
}

#[test]
fn a_drip_is_too_slow() {
    let (registry, blob) = with_blob(&noise(100_000));
    let drip = Fault::Drip { bytes: 1, pause: Duration::from_millis(100) };
    let machine = Machine::new().against(&drip);
    registry.inject(Rule::on("GET", BLOBS, drip).always());
    // The whole would take hours.
    failure(fetch(&machine.client(), &reference(&registry, "library/app"), &blob), Kind::Unreachable);
}

#[test]
fn a_stalled_body_is_fetched_on() {
    let bytes = noise(100_000);
    let (registry, blob) = with_blob(&bytes);
    let stall = Fault::Stall { after: 60_000 };
    let machine = Machine::new().against(&stall);
    registry.inject(Rule::on("GET", BLOBS, stall));
    assert!(fetch(&machine.client(), &reference(&registry, "library/app"), &blob).unwrap() == bytes);
    assert!(begins(&registry).starts_with(&[0, 60_000]), "{:?}", begins(&registry));
}

#[test]
fn several_at_once() {
    let registry = Registry::start();
    let blobs: Vec<(Vec<u8>, Descriptor)> = (0..6_usize)
        .map(|number| noise(200_000 + number))
        .map(|bytes| (bytes.clone(), registry.put_blob("library/app", &bytes)))
        .collect();
    registry.inject(Rule::on("GET", BLOBS, Fault::together(6)).always());
    let client = client();
    thread::scope(|scope| {
        for (bytes, blob) in &blobs {
            let (client, registry) = (&client, &registry);
            scope.spawn(move || {
                assert!(fetch(client, &reference(registry, "library/app"), blob).unwrap() == *bytes);
            });
        }
    });
    assert_eq!(registry.count("GET", BLOBS), 6, "none was answered before all had asked");
    assert_eq!(registry.most_parallel(), 6);
}

#[test]
fn a_reader_may_be_left_in_the_middle() {
    let (registry, blob) = with_blob(&noise(3 << 20));
    let client = client();
    let mut reader = client.blob(&reference(&registry, "library/app"), &blob).unwrap();
    reader.read_exact(&mut [0; 1000]).unwrap();
    drop(reader);
    assert!(fetch(&client, &reference(&registry, "library/app"), &blob).is_ok());
}
