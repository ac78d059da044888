use std::path::Path;

use proptest::prelude::*;

use super::{Proxies, parse};
use crate::environment;

fn of(variables: &[(&str, &str)]) -> Proxies {
    Proxies::load(&environment::of(variables, Path::new("/nowhere"))).unwrap()
}

fn error_of(value: &str) -> String {
    let environment = environment::of(&[("https_proxy", value)], Path::new("/nowhere"));
    Proxies::load(&environment).unwrap_err().to_string()
}

#[test]
fn each_scheme_has_its_variable() {
    let proxies = of(&[("HTTPS_PROXY", "http://secure.example:3128/"), ("http_proxy", "plain.example")]);
    let place = |https| proxies.get(https, "quay.io", 443).map(|proxy| (proxy.host, proxy.port));
    assert_eq!(place(true), Some(("secure.example".to_owned(), 3128)));
    assert_eq!(place(false), Some(("plain.example".to_owned(), 80)));
    assert_eq!(of(&[]).get(true, "quay.io", 443), None);
    let both = of(&[("HTTPS_PROXY", "http://[fd00::1]:1"), ("https_proxy", "b:2")]);
    assert_eq!(both.get(true, "quay.io", 443).unwrap().host, "fd00::1");
}

#[test]
fn this_machine_is_reached_directly() {
    let proxies = of(&[("HTTPS_PROXY", "p:1")]);
    for host in ["localhost", "127.0.0.1", "[::1]", "::1", "LOCALHOST."] {
        assert_eq!(proxies.get(true, host, 5000), None, "{host}");
    }
}

#[test]
fn no_proxy_has_many_forms() {
    let list = "a.example, .b.example,c.example:5000,10.0.0.0/8,192.168.1.1,[fd00::1]:5000,*.d.example,,";
    let proxies = of(&[("HTTPS_PROXY", "p:1"), ("no_proxy", list)]);
    let direct = |host, port| proxies.get(true, host, port).is_none();
    for (host, port) in [
        ("a.example", 443),
        ("x.a.example", 1),
        ("A.Example", 1),
        ("x.b.example", 443),
        ("c.example", 5000),
        ("10.9.9.9", 1),
        ("192.168.1.1", 1),
        ("[fd00::1]", 5000),
        ("x.d.example", 1),
    ] {
        assert!(direct(host, port), "{host}:{port}");
    }
    for (host, port) in [
        ("xa.example", 443),
        ("b.example", 443),
        ("c.example", 443),
        ("11.0.0.1", 1),
        ("192.168.1.2", 1),
        ("[fd00::1]", 443),
        ("d.example", 1),
        ("example", 443),
    ] {
        assert!(!direct(host, port), "{host}:{port}");
    }
    assert_eq!(of(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")]).get(true, "quay.io", 443), None);
}

#[test]
fn a_name_and_password_become_a_header() {
    let proxies = of(&[("HTTPS_PROXY", "http://me:p%40ss%2@p:1")]);
    let proxy = proxies.get(true, "quay.io", 443).unwrap();
    assert_eq!(proxy.authorization.as_ref().unwrap().reveal(), "Basic bWU6cEBzcyUy");
    assert!(!format!("{proxies:?}{proxy:?}").contains("bWU6"));
}

#[test]
fn wrong_values_are_refused_and_not_quoted() {
    let other = "$https_proxy is wrong: only http proxies are spoken to: write http://host:port (https and socks5 proxies are not supported)";
    assert_eq!(error_of("socks5://me:hunter2@p:1"), other);
    assert_eq!(error_of("https://p"), other);
    let none = "$https_proxy is wrong: it is no address of a proxy: write http://[user:password@]host:port";
    assert_eq!(error_of("http://me:hunter2@"), none);
    assert_eq!(error_of("http://p:99999"), none);
}

proptest! {
    #[test]
    fn foreign_values_never_panic(value in "\\PC{0,30}", host in "\\PC{0,20}") {
        let _ = parse(&value);
        let _ = of(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", &value)]).get(true, &host, 1);
    }

    #[test]
    fn escapes_are_undone(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        prop_assert_eq!(crate::url::unescape(&escaped), bytes);
    }
}
