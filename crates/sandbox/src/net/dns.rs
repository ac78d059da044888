//! The name servers a sandbox can reach.

use std::net::IpAddr;

use super::namespace::Connectivity;

/// The address at which pasta answers for the host's own name server.
pub(crate) const FORWARDER: &str = "169.254.1.1";

/// The content of /etc/resolv.conf for a sandbox, from the host's.
///
/// A name server on the host's loopback (systemd-resolved, dnsmasq) is out of reach from another namespace, and pasta,
/// once it forwards for the host's IPv4 servers under an address of its own, does not pass their own answers on. So
/// the forwarder stands for all of them; IPv6 servers that are not on loopback stay.
pub fn resolv_conf(host: &[u8], connectivity: &Connectivity) -> Vec<u8> {
    if *connectivity == Connectivity::Host {
        return host.to_vec();
    }
    let connected = *connectivity == Connectivity::Pasta;
    let stays = |line: &&[u8]| match name_server(line) {
        Some(IpAddr::V6(address)) => connected && !address.is_loopback() && !address.is_unspecified(),
        Some(IpAddr::V4(_)) => false,
        None => !is_name_server(line),
    };
    let lines: Vec<&[u8]> = host.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let has_v4 = lines.iter().any(|line| matches!(name_server(line), Some(IpAddr::V4(_))));
    let kept: Vec<&[u8]> = lines.into_iter().filter(stays).collect();
    let has_servers = kept.iter().any(|line| is_name_server(line));
    let forwarder = format!("nameserver {FORWARDER}");
    let forwarded = (connected && (has_v4 || !has_servers)).then_some(forwarder.as_bytes());
    forwarded.into_iter().chain(kept).flat_map(|line| [line, b"\n"]).flatten().copied().collect()
}

fn is_name_server(line: &[u8]) -> bool {
    line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()) == Some(b"nameserver")
}

fn name_server(line: &[u8]) -> Option<IpAddr> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.next().filter(|word| *word == b"nameserver")?;
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] =
        b"# made by hand\nnameserver 127.0.0.53\n nameserver\t10.0.0.1\nsearch lan\nnameserver ::1\n";

    #[test]
    fn the_host_network_has_the_hosts_servers() {
        assert_eq!(resolv_conf(HOST, &Connectivity::Host), HOST);
    }

    #[test]
    fn the_forwarder_stands_for_servers_out_of_reach() {
        let text = resolv_conf(HOST, &Connectivity::Pasta);
        assert_eq!(text, b"nameserver 169.254.1.1\n# made by hand\nsearch lan\n");
        let text = resolv_conf(b"nameserver 127.0.0.53\noptions edns0", &Connectivity::Pasta);
        assert_eq!(text, b"nameserver 169.254.1.1\noptions edns0\n");
        assert_eq!(
            resolv_conf(b"nameserver fe80::1%eth0\n", &Connectivity::Pasta),
            b"nameserver 169.254.1.1\n"
        );
        let both = b"nameserver 10.0.0.1\nnameserver 2001:db8::1\n";
        let text = resolv_conf(both, &Connectivity::Pasta);
        assert_eq!(text, b"nameserver 169.254.1.1\nnameserver 2001:db8::1\n");
        assert_eq!(resolv_conf(&both[20..], &Connectivity::Pasta), b"nameserver 2001:db8::1\n");
    }

    #[test]
    fn alone_there_are_no_servers() {
        let alone = Connectivity::LoopbackOnly { reason: String::new() };
        assert_eq!(resolv_conf(HOST, &alone), b"# made by hand\nsearch lan\n");
    }
}
