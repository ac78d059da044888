//! The test registry for shell scripts: listens until it is killed.
//!
//! `registry [--listen ADDRESS] [--auth basic|token] [--no-referrers]`; the first line it prints is its `host:port`. User
//! and password are `robot` and `s3cret-password`. Rules and record are at `/_rules` and `/_requests`.

#![expect(clippy::print_stdout, reason = "scripts read the address")]

use galley_testkit::registry::{Auth, Registry};

fn main() {
    let mut builder = Registry::builder();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = |value: Option<String>| value.unwrap_or_else(|| panic!("{argument} wants a value"));
        builder = match argument.as_str() {
            "--listen" => builder.listen(value(arguments.next()).parse().expect("host:port")),
            "--auth" => builder.auth(match value(arguments.next()).as_str() {
                "basic" => Auth::basic(),
                "token" => Auth::token(),
                other => panic!("--auth is basic or token, not {other:?}"),
            }),
            "--no-referrers" => builder.referrers(false),
            other => panic!("unknown argument {other:?}"),
        };
    }
    let registry = builder.start();
    println!("{}", registry.host());
    loop {
        std::thread::park();
    }
}
