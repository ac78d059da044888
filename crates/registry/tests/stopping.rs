//! Whatever is under way ends soon after it is to stop.

use std::{
    io::{self, Cursor, Read},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use galley_oci::Descriptor;
use galley_registry::{Client, Kind, RegistryError};
use galley_testkit::registry::{Auth, Fault, Registry, Rule, silent_listener};

use crate::support::{Machine, failure, fetch, noise, reference, upload, wait_until};

/// A machine with the patience of production, which is 20 seconds at least: what ends here ends by the stop alone.
fn patient() -> Machine {
    Machine::new().limits(|limits| *limits = galley_registry::Limits::default())
}

/// Runs `act`, stops it once `begun` holds, and checks that it ends long before it would by itself.
fn stopped<T: Send + std::fmt::Debug>(
    machine: &Machine,
    begun: impl Fn() -> bool,
    act: impl FnOnce(&Client) -> Result<T, RegistryError> + Send,
) {
    let client = machine.client();
    thread::scope(|scope| {
        let under_way = scope.spawn(|| act(&client));
        wait_until(begun);
        thread::sleep(Duration::from_millis(100));
        assert!(!under_way.is_finished(), "it ended by itself");
        let told = Instant::now();
        machine.stop().store(true, Ordering::SeqCst);
        let result = under_way.join().unwrap();
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
        failure(result, Kind::Stopped);
    });
}

#[test]
fn before_an_answer() {
    let registry = Registry::start();
    registry.inject(Rule::on("GET", "/v2/library/*", Fault::Hang).always());
    let app = reference(&registry, "library/app:1");
    stopped(&patient(), || registry.count("GET", "/v2/library/*") > 0, |client| client.manifest(&app));
}

#[test]
fn in_a_body() {
    let bytes = noise(100_000);
    for fault in [
        Fault::Stall { after: 50_000 },
        Fault::Drip { bytes: 1, pause: Duration::from_millis(20) },
        Fault::Drip { bytes: 10, pause: Duration::from_secs(25) },
    ] {
        let registry = Registry::start();
        let blob = registry.put_blob("library/app", &bytes);
        registry.inject(Rule::on("GET", "/v2/library/app/blobs/*", fault).always());
        let app = reference(&registry, "library/app");
        let begun = || registry.count("GET", "/v2/library/app/blobs/*") > 0;
        stopped(&patient(), begun, |client| fetch(client, &app, &blob));
    }
}

#[test]
fn in_a_pause() {
    let registry = Registry::start();
    registry.inject(Rule::on("GET", "/v2/library/*", Fault::too_many("30")).always());
    let app = reference(&registry, "library/app:1");
    stopped(&patient(), || registry.count("GET", "/v2/library/*") > 0, |client| client.manifest(&app));
}

#[test]
fn at_the_token_server() {
    let registry = Registry::builder().auth(Auth::token()).start();
    registry.inject(Rule::on("*", "/token", Fault::Hang).always());
    let app = reference(&registry, "library/app:1");
    stopped(&patient(), || registry.count("*", "/token") > 0, |client| client.manifest(&app));
}

#[test]
fn where_nobody_speaks() {
    let (_listener, address) = silent_listener();
    let app = format!("{address}/library/app:1").parse().unwrap();
    stopped(&patient(), || true, |client| client.manifest(&app));
}

#[test]
fn in_an_upload() {
    let bytes = vec![7; 64 << 20];
    let registry = Registry::start();
    // Nothing is read for a while: the buffers between the two are full before all is sent.
    registry.inject(Rule::on("PUT", "*", Fault::Delay(Duration::from_secs(30))).always());
    let app = reference(&registry, "library/app");
    stopped(&patient(), || registry.count("PUT", "*") > 0, |client| upload(client, &app, &bytes));
}

#[test]
fn before_the_answer_to_an_upload() {
    let registry = Registry::start();
    registry.inject(Rule::on("PUT", "*", Fault::Hang).always());
    let app = reference(&registry, "library/app");
    stopped(&patient(), || registry.count("PUT", "*") > 0, |client| upload(client, &app, b"bytes"));
}

#[test]
fn before_it_begins() {
    let registry = Registry::start();
    let machine = patient();
    machine.stop().store(true, Ordering::SeqCst);
    let client = machine.client();
    failure(client.manifest(&reference(&registry, "library/app:1")), Kind::Stopped);
    let blob = Descriptor::of("application/octet-stream", b"x");
    let content = || Ok(Box::new(Cursor::new(b"x".to_vec())) as Box<dyn Read + Send>) as io::Result<_>;
    failure(
        client.upload(&reference(&registry, "library/app"), &blob, &content, &[], &|_| {}),
        Kind::Stopped,
    );
    assert!(registry.requests().is_empty());
}
