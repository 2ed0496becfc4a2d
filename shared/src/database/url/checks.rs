//! What a connection string may hold, part by part, and a sentence for everything else.

use std::net::IpAddr;

use tokio_postgres::config::{Host, SslNegotiation};

use crate::config_errors::ConfigErrors;
use crate::setting_text::{check_visible, is_quote};

/// What a connection string looks like.
pub(super) const EXAMPLE: &str =
    "postgresql://role:password@ep-name-123456-pooler.region.aws.neon.tech/dbname?sslmode=require";

/// The domains of Neon's hosts.
const NEON_DOMAINS: [&str; 2] = ["neon.tech", "neon.build"];

/// The part after `postgresql://`.
pub(super) fn check_scheme<'a>(variable: &str, text: &'a str) -> Result<&'a str, ConfigErrors> {
    let write = format!("Write the connection string that the Neon console shows: {EXAMPLE}");
    if text.is_empty() {
        return Err(format!("{variable} is missing. {write}").into());
    }
    let begins_with_name = text
        .split_once('=')
        .is_some_and(|(name, _)| !name.contains(':'));
    if text.starts_with(is_quote)
        || text.ends_with(is_quote)
        || text.starts_with("psql ")
        || (begins_with_name && text.contains("://"))
    {
        return Err(format!(
            "{variable} holds quotes, a command or a name around the connection string. {write}"
        )
        .into());
    }
    if text.starts_with(['<', '[', '(', '{', '$']) {
        return Err(format!("{variable} is a placeholder, or stands in brackets. {write}").into());
    }
    if has_second_scheme(text) {
        return Err(format!("{variable} holds more than one connection string. {write}").into());
    }
    let scheme = text
        .split(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let other_store = |name: &str| {
        Err(
            format!("{variable} names {name}, and Neon PostgreSQL is the only store. {write}")
                .into(),
        )
    };
    match scheme.as_str() {
        "postgresql" | "postgres" => text[scheme.len()..].strip_prefix("://").ok_or_else(|| {
            format!("{variable} lacks the two slashes after {scheme}:. {write}").into()
        }),
        "sqlite" | "sqlite3" => other_store("an SQLite file"),
        "mysql" | "mariadb" => other_store("a MySQL database"),
        "file" => other_store("a file"),
        _ if scheme.starts_with("sqlite+") => other_store("an SQLite file"),
        "jdbc" => Err(format!(
            "{variable} is a connection string for Java, which writes it in another way. {write}"
        )
        .into()),
        "http" | "https" => Err(format!(
            "{variable} is the address of a page, not a connection string. {write}"
        )
        .into()),
        _ if scheme.starts_with("postgres") && scheme.contains('+') => Err(format!(
            "{variable} names another language's driver in its scheme; write postgresql:// instead."
        )
        .into()),
        _ => Err(format!("{variable} is not a PostgreSQL connection string. {write}").into()),
    }
}

/// Whether a second connection string follows.
fn has_second_scheme(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.matches("postgresql://").count() + text.matches("postgres://").count() > 1
}

/// Refuses a decoded name that a person could not read, or that holds quotes.
pub(super) fn check_name(
    variable: &str,
    what: &str,
    name: Option<&str>,
    errors: &mut ConfigErrors,
) {
    let name = name.unwrap_or_default();
    if name.contains('\0') {
        // Reported for the password as well.
        return;
    }
    errors.collect(check_visible(&format!("{variable}, in its {what},"), name));
    if name.contains(is_quote) {
        errors.push(format!(
            "{variable} has quotes in its {what}. Write the {what} without them."
        ));
    }
    if name.trim_matches(' ') != name {
        errors.push(format!(
            "{variable} has a space at the beginning or the end of its {what}. Remove it."
        ));
    }
}

/// The parameters after the question mark.
pub(super) struct Parameters {
    /// Those that the driver understands, as they were written.
    pub(super) kept: String,
    /// How TLS starts, where a parameter says so.
    pub(super) negotiation: Option<SslNegotiation>,
    /// The names of the others.
    pub(super) ignored: Vec<String>,
}

impl Parameters {
    /// Reads the part of the connection string after the question mark.
    pub(super) fn read(variable: &str, query: &str, errors: &mut ConfigErrors) -> Self {
        let mut kept = Vec::new();
        let mut ignored = Vec::new();
        let mut negotiation = None;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "sslmode" => match value {
                    // The chain and the host name are always verified, which the driver has no stricter word for.
                    "require" | "verify-ca" | "verify-full" => {}
                    _ => errors.push(format!(
                        "{variable} asks for an sslmode that does not enforce TLS or does not exist. Write \
                         sslmode=require (verify-ca and verify-full mean the same here: the certificate and the host \
                         name are always verified)."
                    )),
                },
                "channel_binding" if !["disable", "prefer", "require"].contains(&value) => errors.push(format!(
                    "{variable} has an unknown channel_binding. Write channel_binding=require, prefer or disable."
                )),
                "sslnegotiation" => match value {
                    "postgres" => negotiation = Some(SslNegotiation::Postgres),
                    "direct" => negotiation = Some(SslNegotiation::Direct),
                    _ => errors.push(format!(
                        "{variable} has an unknown sslnegotiation. Write sslnegotiation=postgres or direct."
                    )),
                },
                "application_name" | "channel_binding" | "options" => kept.push(parameter),
                _ => ignored.push(name.to_owned()),
            }
        }
        Self {
            kept: kept.join("&"),
            negotiation,
            ignored,
        }
    }
}

/// Startup options without those that name the endpoint to Neon's proxy. The host name does so already (SNI); and the direct
/// host and the pooled one need different names, so that one string could not serve both.
pub(super) fn without_endpoint(
    options: &str,
    ignored_parameters: &mut Vec<String>,
) -> Option<String> {
    let is_endpoint = |option: &&str| {
        let name = option.split('=').next().unwrap_or_default();
        ["endpoint", "project"].contains(&name)
    };
    let (endpoints, others): (Vec<_>, Vec<_>) = options.split_whitespace().partition(is_endpoint);
    ignored_parameters.extend(endpoints.iter().map(|option| {
        let name = option.split('=').next().unwrap_or_default();
        format!("options={name}")
    }));
    (!others.is_empty()).then(|| others.join(" "))
}

/// The host in lower case, if it is one of Neon's or an allowed local one.
pub(super) fn check_host(
    variable: &str,
    config: &tokio_postgres::Config,
    has_credentials: bool,
    local_allowed: bool,
    errors: &mut ConfigErrors,
) -> Option<String> {
    let host = match config.get_hosts() {
        [Host::Tcp(host)] if !host.is_empty() => host.to_ascii_lowercase(),
        [] | [Host::Tcp(_)] => {
            errors.push(format!(
                "{variable} has no host. It should look like {EXAMPLE}"
            ));
            return None;
        }
        _ => {
            errors
                .push(format!("{variable} has to name exactly one host, by its name. It should look like {EXAMPLE}"));
            return None;
        }
    };
    if is_neon(&host) || (is_loopback(&host) && local_allowed) {
        return Some(host);
    }
    // Without credentials, what looks like the host may be one of them.
    let named = if has_credentials {
        format!("{variable} names the host {host}")
    } else {
        format!("{variable} names a host")
    };
    errors.push(if is_loopback(&host) {
        format!(
            "{named}, a local one. Write the connection string of your Neon project, or, for development alone, set \
             ALLOW_LOCAL_DATABASE=true."
        )
    } else {
        format!(
            "{named}, which is not one of Neon's. Neon is the only store: the host has to lie under {}, as in {EXAMPLE}",
            NEON_DOMAINS.join(" or ")
        )
    });
    None
}

/// Whether a host is in one of Neon's domains.
pub(super) fn is_neon(host: &str) -> bool {
    NEON_DOMAINS.iter().any(|domain| {
        let labels = host
            .strip_suffix(domain)
            .and_then(|host| host.strip_suffix('.'));
        labels.is_some_and(|labels| {
            labels.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            })
        })
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
