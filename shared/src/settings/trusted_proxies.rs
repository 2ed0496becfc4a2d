//! `TRUSTED_PROXIES`: whose header `X-Forwarded-For` is believed.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::config_errors::ConfigErrors;

/// The addresses of the proxies that name the client in `X-Forwarded-For`. By default there are none.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads a list of addresses and networks, separated by commas or white space.
    ///
    /// # Errors
    /// Each entry that is neither an address nor a network; a list that trusts everybody.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut networks = Vec::new();
        let is_separator = |letter: char| letter == ',' || letter.is_ascii_whitespace();
        for entry in text.split(is_separator).filter(|entry| !entry.is_empty()) {
            match parse_network(entry) {
                Some(network) => networks.push(network),
                None => errors.push(format!(
                    "TRUSTED_PROXIES holds {entry:?}, which is neither an address nor a network. Write addresses such as \
                     192.0.2.10 and networks such as 192.0.2.0/24 or 2001:db8::/32, separated by commas."
                )),
            }
        }
        // Several networks can also be everything together, such as 0.0.0.0/1 and 128.0.0.0/1.
        let networks = IpNet::aggregate(&networks);
        if networks.iter().any(|network| network.prefix_len() == 0) {
            errors.push(
                "TRUSTED_PROXIES trusts all addresses, so every client could choose the address that it is counted \
                 under. Name only your own proxies."
                    .to_owned(),
            );
        }
        errors.into_result(Some(Self(networks)))
    }

    /// Whether the address is that of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// A network, or an address as a network of its own. An IPv4 address that is written as an IPv6 one is the same address.
fn parse_network(entry: &str) -> Option<IpNet> {
    let network = entry
        .parse()
        .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from))
        .ok()?;
    match network {
        IpNet::V6(mapped) if mapped.prefix_len() >= 96 => match mapped.addr().to_ipv4_mapped() {
            Some(address) => {
                let prefix_length = mapped.prefix_len() - 96;
                Ipv4Net::new(address, prefix_length).ok().map(IpNet::V4)
            }
            None => Some(network),
        },
        _ => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> TrustedProxies {
        TrustedProxies::parse(text).expect("a good list")
    }

    #[test]
    fn addresses_and_networks_are_trusted() {
        let trusted = parsed(
            "192.0.2.10, 198.51.100.0/24\n2001:db8:1::/48,2001:db8:2::7 ::ffff:203.0.113.64/122,",
        );
        for (address, expected) in [
            ("192.0.2.10", true),
            ("::ffff:192.0.2.10", true),
            ("192.0.2.11", false),
            ("198.51.100.0", true),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
            ("2001:db8:1:ffff::1", true),
            ("2001:db8:3::", false),
            ("2001:db8:2::7", true),
            ("2001:db8:2::8", false),
            ("203.0.113.64", true),
            ("203.0.113.128", false),
        ] {
            let found = trusted.contains(address.parse().expect("an address"));
            assert_eq!(found, expected, "{address}");
        }
        assert!(!parsed(" , ").contains([127, 0, 0, 1].into()));
        // The address need not be the first of its network.
        assert!(parsed("10.1.2.3/8").contains([10, 9, 9, 9].into()));
    }

    #[test]
    fn each_bad_entry_is_named() {
        let entries = [
            "localhost",
            "10.0.0.0/33",
            "::/129",
            "10.0.0",
            "10.0.0.0/",
            "*",
            "10.0.0.0-10.0.0.9",
            "fe80::1%eth0",
            "010.0.0.1",
            "192.0.2.1:80",
            "[::1]",
            "10.0.0.0/255.0.0.0",
        ];
        for entry in entries {
            assert!(TrustedProxies::parse(entry).is_err(), "{entry}");
        }
        let errors = TrustedProxies::parse(&entries.join(",")).expect_err("bad entries");
        assert_eq!(errors.to_string().lines().count(), entries.len());
    }

    #[test]
    fn all_addresses_are_refused() {
        for list in [
            "0.0.0.0/0",
            "::/0",
            "192.0.2.1/0",
            "::ffff:0:0/96",
            "0.0.0.0/1,128.0.0.0/1",
            "8000::/1 ::/2 4000::/2",
            "192.0.2.1,::/0",
        ] {
            let errors = TrustedProxies::parse(list).expect_err("a bad list");
            assert!(
                errors.to_string().contains("trusts all addresses"),
                "{list}: {errors}"
            );
        }
    }
}
