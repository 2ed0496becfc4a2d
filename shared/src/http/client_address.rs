//! The client's address, where a proxy stands in front of the gateway.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::settings::TrustedProxies;

/// The address of the client. `source` is that of the connection to the gateway; `forwarded_for` are the values of the
/// header `X-Forwarded-For`, `None` for one that is not text.
///
/// Each proxy appends the address of whom it was called by, so the list is read from its end, for as long as it was written
/// by proxies that are trusted. The client is the first address that is not trusted, or the last one of the list where all
/// are. What is to the left of that address came from the client, and means nothing. Where an entry that has to be read is no
/// address, the header counts as absent. This is what nginx does with `real_ip_recursive`.
pub(super) fn client_address<'a>(
    source: Option<IpAddr>,
    forwarded_for: impl DoubleEndedIterator<Item = Option<&'a str>>,
    trusted: &TrustedProxies,
) -> Option<IpAddr> {
    let source = source?;
    let mut client = source;
    // A value that is not text is one entry, and no address. Empty entries mean nothing (RFC 9110, 5.6.1.2).
    let entries = forwarded_for
        .rev()
        .flat_map(|value| value.unwrap_or("not text").rsplit(','))
        .map(|entry| entry.trim_matches([' ', '\t']))
        .filter(|entry| !entry.is_empty());
    for entry in entries {
        if !trusted.contains(client) {
            break;
        }
        match parse_address(entry) {
            Some(address) => client = address,
            None => return Some(source),
        }
    }
    Some(client)
}

/// An address, which some proxies write with a port, and an IPv6 address with brackets.
fn parse_address(entry: &str) -> Option<IpAddr> {
    let in_brackets = || {
        let address = entry.strip_prefix('[')?.strip_suffix(']')?;
        address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    let address = entry.parse::<IpAddr>().ok();
    address
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    /// The client's address, where the proxies are 10.0.0.0/8 and 2001:db8:ffff::/48.
    fn client(source: &str, forwarded_for: &[&str]) -> String {
        let list = "10.0.0.0/8, 2001:db8:ffff::/48";
        let settings = |name: &str| match name {
            "DATABASE_URL" => Some("postgresql://u:p@ep-1.neon.tech/d".to_owned()),
            "SECRET_KEY" => Some("0123456789abcdef0123456789abcdef".to_owned()),
            "TRUSTED_PROXIES" => Some(list.to_owned()),
            _ => None,
        };
        let settings = Settings::from_lookup(&settings).expect("good settings");
        let values = forwarded_for.iter().copied().map(Some);
        let client = client_address(source.parse().ok(), values, &settings.trusted_proxies);
        client.map_or("none".to_owned(), |client| {
            client.to_canonical().to_string()
        })
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        for (forwarded_for, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("203.0.113.7,10.0.0.2,\t10.0.0.3 ", "203.0.113.7"),
            ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
            // What a client has sent is to the left of its own address.
            ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("10.0.0.9, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("nonsense, 203.0.113.7", "203.0.113.7"),
            (
                &format!("{}203.0.113.7", "1.1.1.1, ".repeat(10_000)),
                "203.0.113.7",
            ),
            ("2001:db8::7", "2001:db8::7"),
            ("2001:db8::7, 2001:db8:ffff::1", "2001:db8::7"),
            ("::ffff:203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::7]:4711, 10.0.0.2:80", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            (",203.0.113.7, ,", "203.0.113.7"),
            // Where all are trusted, the first one called.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ] {
            for source in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8:ffff::9"] {
                assert_eq!(
                    client(source, &[forwarded_for]),
                    expected,
                    "{forwarded_for:.60}"
                );
            }
        }
        let several = ["198.51.100.1", "203.0.113.7, 10.0.0.3", "10.0.0.2"];
        assert_eq!(client("10.0.0.1", &several), "203.0.113.7");
    }

    #[test]
    fn nobody_else_names_the_client() {
        for source in ["192.0.2.1", "11.0.0.0", "2001:db8:fffe::1", "::a00:1"] {
            for forwarded_for in ["203.0.113.7", "203.0.113.7, 10.0.0.2", "nonsense", ""] {
                let source_address: IpAddr = source.parse().expect("an address");
                assert_eq!(client(source, &[forwarded_for]), source_address.to_string());
            }
        }
        for source in ["", "unknown", "10.0.0.1, 10.0.0.2"] {
            assert_eq!(client(source, &["203.0.113.7"]), "none");
        }
    }

    #[test]
    fn a_malformed_header_counts_as_absent() {
        for forwarded_for in [
            "",
            " , ,",
            "unknown",
            "_hidden",
            "203.0.113.7, nonsense",
            "203.0.113.7, nonsense, 10.0.0.2",
            "203.0.113",
            "203.0.113.7.1",
            "203.0.113.256",
            "203.0.113.07",
            "203.0.113.7/32",
            "203.0.113.7:99999",
            "203.0.113.7 10.0.0.2",
            "203.0.113.7; 10.0.0.2",
            "for=203.0.113.7",
            "\"203.0.113.7\"",
            "[203.0.113.7]",
            "[2001:db8::7",
            "2001:db8::7%eth0",
            "\u{661}0.0.0.1",
        ] {
            assert_eq!(
                client("10.0.0.1", &[forwarded_for]),
                "10.0.0.1",
                "{forwarded_for}"
            );
        }
        let trusted = TrustedProxies::default();
        let source = Some([10, 0, 0, 1].into());
        assert_eq!(client_address(source, [None].into_iter(), &trusted), source);
    }
}
