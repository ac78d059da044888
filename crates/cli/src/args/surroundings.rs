//! `--add-host`, `--shm-size`, `--ulimit`: what processes in a sandbox have around them.

use std::net::{IpAddr, Ipv4Addr};

use galley_engine::{
    Error, ErrorKind,
    plan::{Resource, Surroundings, Ulimit},
};

use super::{csv, size};

/// The value of `--add-host NAME:host-gateway`.
const HOST_GATEWAY: &str = "host-gateway";

/// What was typed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct SurroundingsArgs {
    /// Add a line to /etc/hosts, NAME:ADDRESS
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = hosts)]
    add_host: Vec<Vec<Host>>,
    /// Size of /dev/shm, 64m without it
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    shm_size: Option<u64>,
    /// Limit a resource, NAME=SOFT[:HARD]; -1 is no limit
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = ulimit)]
    ulimit: Vec<Ulimit>,
}

/// One host of `--add-host`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    name: String,
    /// None is this machine: `host-gateway`.
    address: Option<IpAddr>,
}

impl SurroundingsArgs {
    /// What it means for processes that are on the machine's own network, or on one of their own.
    pub(crate) fn resolved(&self, on_host_network: bool) -> Result<Surroundings, Error> {
        let hosts = self.add_host.iter().flatten().map(|host| match host.address {
            Some(address) => Ok((host.name.clone(), address)),
            None if on_host_network => Ok((host.name.clone(), Ipv4Addr::LOCALHOST.into())),
            None => Err(no_gateway(&host.name)),
        });
        let mut ulimits: Vec<Ulimit> = Vec::new();
        for limit in &self.ulimit {
            ulimits.retain(|known| known.resource != limit.resource);
            ulimits.push(*limit);
        }
        ulimits.sort_by_key(|limit| limit.resource.name());
        Ok(Surroundings {
            hosts: hosts.collect::<Result<_, _>>()?,
            // As in docker, nothing is the usual.
            shm_size: self.shm_size.filter(|&size| size > 0),
            ulimits,
        })
    }
}

fn no_gateway(name: &str) -> Error {
    let message = format!(
        "--add-host {name}:{HOST_GATEWAY}: a network of its own has no address for services of this machine"
    );
    Error::new(ErrorKind::Usage, message)
        .help("with --network=host it is 127.0.0.1; else name another address that the service listens on")
}

/// Understands `NAME:ADDRESS`, `NAME=ADDRESS`, and several of them with commas between.
fn hosts(text: &str) -> Result<Vec<Host>, String> {
    let fields = csv::fields(text)?;
    let given = fields.iter().filter(|field| !field.is_empty());
    Ok(given.map(|field| host(field)).collect::<Result<Vec<_>, _>>()?.concat())
}

/// One name with its addresses; a quoted field may have several.
fn host(text: &str) -> Result<Vec<Host>, String> {
    let wrong = || format!("{text:?} is not NAME:ADDRESS, with an IPv4 or IPv6 address or {HOST_GATEWAY}");
    let (name, addresses) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(wrong());
    }
    let host = |address| Host { name: name.to_lowercase(), address };
    if addresses == HOST_GATEWAY {
        return Ok(vec![host(None)]);
    }
    let bare = |text: &str| text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).map(str::to_owned);
    let address = |text: &str| bare(text).as_deref().unwrap_or(text).parse::<IpAddr>();
    let address = |text: &str| address(text).map(|address| host(Some(address.to_canonical())));
    addresses.split(',').map(|text| address(text).map_err(|_| wrong())).collect()
}

/// Understands `NAME=SOFT[:HARD]`.
fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, values) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=SOFT[:HARD]"))?;
    let resource = Resource::named(name).ok_or_else(|| {
        let known: Vec<&str> = Resource::ALL.iter().map(|(name, _)| *name).collect();
        format!("there is no limit {name:?}: known are {}", known.join(", "))
    })?;
    let number = |text: &str| {
        text.parse::<i64>()
            .ok()
            .filter(|&number| number >= -1)
            .ok_or_else(|| format!("{text:?} is no limit: write a number, or -1 for no limit"))
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    // No limit is the largest number of the kernel.
    let (soft, hard) = (soft as u64, hard as u64);
    if soft > hard {
        return Err(format!("the soft limit of {text:?} is above the hard one"));
    }
    Ok(Ulimit { resource, soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let address = |host: Host| match host.address {
            Some(address) => format!("{}={address}", host.name),
            None => format!("{}=this machine", host.name),
        };
        match hosts(text) {
            Ok(hosts) => hosts.into_iter().map(address).collect::<Vec<_>>().join(" "),
            Err(error) => error,
        }
    }

    #[test]
    fn hosts_as_in_docker() {
        let cases = [
            ("db:10.0.0.1", "db=10.0.0.1"),
            ("DB=10.0.0.1", "db=10.0.0.1"),
            ("six:::1", "six=::1"),
            ("six:[FE80:0::1]", "six=fe80::1"),
            ("six=[::ffff:1.2.3.4]", "six=1.2.3.4"),
            ("a:1.1.1.1,b:2.2.2.2", "a=1.1.1.1 b=2.2.2.2"),
            ("\"a:1.1.1.1,::1\"", "a=1.1.1.1 a=::1"),
            ("host.docker.internal:host-gateway", "host.docker.internal=this machine"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
        for text in
            ["db", "db:", ":1.1.1.1", "db:1.1.1", "db:01.1.1.1", "db:x", "db:fe80::1%eth0", "a b:1.1.1.1"]
        {
            assert!(shown(text).contains("is not NAME:ADDRESS"), "{text}");
        }
    }

    #[test]
    fn this_machine_has_an_address_on_its_own_network_only() {
        let arguments =
            SurroundingsArgs { add_host: vec![hosts("h:host-gateway").unwrap()], ..Default::default() };
        let hosts = arguments.resolved(true).unwrap().hosts;
        assert_eq!(hosts, [("h".to_owned(), IpAddr::from(Ipv4Addr::LOCALHOST))]);
        let error = arguments.resolved(false).unwrap_err();
        assert_eq!(
            error.message,
            "--add-host h:host-gateway: a network of its own has no address for services of this machine"
        );
    }

    #[test]
    fn limits_as_in_docker() {
        let limit = |resource, soft, hard| Ok(Ulimit { resource, soft, hard });
        assert_eq!(ulimit("nofile=10:20"), limit(Resource::Nofile, 10, 20));
        assert_eq!(ulimit("core=0"), limit(Resource::Core, 0, 0));
        assert_eq!(ulimit("memlock=-1:-1"), limit(Resource::Memlock, u64::MAX, u64::MAX));
        assert_eq!(ulimit("stack=5:-1"), limit(Resource::Stack, 5, u64::MAX));
        for text in
            ["nofile", "as=1", "nofile=", "nofile=a", "nofile=1:2:3", "nofile=2:1", "nofile=-1:5", "cpu=-2"]
        {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_limit_of_a_name_counts() {
        let given = ["nproc=9", "nofile=1", "nofile=2"].map(|text| ulimit(text).unwrap()).to_vec();
        let arguments = SurroundingsArgs { ulimit: given, shm_size: Some(0), ..Default::default() };
        let surroundings = arguments.resolved(false).unwrap();
        let names: Vec<_> =
            surroundings.ulimits.iter().map(|limit| (limit.resource.name(), limit.soft)).collect();
        assert_eq!(names, [("nofile", 2), ("nproc", 9)]);
        assert_eq!(surroundings.shm_size, None);
    }
}
