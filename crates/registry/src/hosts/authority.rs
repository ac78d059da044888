//! Hosts with ports: `example.com`, `example.com:5000`, `[::1]:5000`.

use std::net::IpAddr;

/// The host without its port and brackets, and the port.
pub(crate) fn split(authority: &str) -> (&str, Option<u16>) {
    if let Some(rest) = authority.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match authority.rsplit_once(':') {
        // More than one colon and no brackets: an IPv6 address alone.
        Some((host, _)) if host.contains(':') => (authority, None),
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    }
}

/// Whether `text` can be a host with or without a port.
pub(crate) fn is_valid(text: &str) -> bool {
    let (host, port) = split(text);
    let written = match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None if host.contains(':') => format!("[{host}]"),
        None => host.to_owned(),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let host_is_valid = host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.bytes().all(name));
    host_is_valid && written == text
}

/// Whether a host is this machine: `localhost`, names below it, 127.0.0.0/8 and ::1.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let (host, _) = split(authority);
    let host = host.to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}
