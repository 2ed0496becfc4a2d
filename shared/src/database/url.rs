//! `DATABASE_URL`: what is accepted, and a sentence for everything that is not.

use std::fmt;

use secrecy::{ExposeSecret, SecretSlice};
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation};

use crate::config_errors::ConfigErrors;
use crate::setting_text::check_visible;
use crate::timeouts;

mod checks;
mod pasted;

use checks::{
    EXAMPLE, Parameters, check_host, check_name, check_scheme, is_neon, without_endpoint,
};
use pasted::Parts;

/// The end of the first label of a host behind Neon's pooler.
const POOLER_SUFFIX: &str = "-pooler";

/// A connection string that has been checked: where the database is, and the role that connects.
///
/// Its `Debug` form holds no password.
#[derive(Debug)]
pub struct DatabaseUrl {
    host: String,
    port: u16,
    role: String,
    password: SecretSlice<u8>,
    database: String,
    application_name: Option<String>,
    options: Option<String>,
    channel_binding: ChannelBinding,
    negotiation: SslNegotiation,
    ignored_parameters: Vec<String>,
}

/// Whether a connection goes through Neon's pooler or directly to the compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through `PgBouncer` in transaction mode.
    Pooled,
    /// To the compute, or to a local server.
    Direct,
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pooled => "pooled",
            Self::Direct => "direct",
        })
    }
}

impl DatabaseUrl {
    /// Checks the connection string in the environment variable `variable`.
    ///
    /// `local_allowed` lets it name a loopback host, as `ALLOW_LOCAL_DATABASE=true` does.
    ///
    /// # Errors
    /// Every problem. The sentences quote only the scheme, the host and the names of parameters, since any other part may be
    /// a secret.
    pub fn parse(variable: &str, text: &str, local_allowed: bool) -> Result<Self, ConfigErrors> {
        let text = text.trim_ascii();
        check_visible(variable, text)?;
        let rest = check_scheme(variable, text)?;
        // A second @ means that a secret holds one that was not encoded. Then any part may be a piece of the secret.
        if rest.matches('@').count() > 1 {
            return Err(format!(
                "{variable} cannot be read: an @ in the role or in the password has to be written as %40, and likewise \
                 : as %3A, / as %2F, ? as %3F and % as %25."
            )
            .into());
        }
        let (location, query) = match rest
            .find('@')
            .map_or_else(|| rest.find('?'), |at| find_from(rest, at, '?'))
        {
            Some(mark) => (&rest[..mark], &rest[mark + 1..]),
            None => (rest, ""),
        };

        Parts::new(location, query).check(variable)?;

        let mut errors = ConfigErrors::default();
        let parameters = Parameters::read(variable, query, &mut errors);
        let config = format!("postgresql://{location}?{}", parameters.kept)
            .parse::<tokio_postgres::Config>();
        let Ok(config) = config else {
            errors.push(format!(
                "{variable} cannot be read: the port has to be a number, and special characters in the role and in \
                 the password have to be percent-encoded. It should look like {EXAMPLE}"
            ));
            return Err(errors);
        };

        let host = check_host(
            variable,
            &config,
            rest.contains('@'),
            local_allowed,
            &mut errors,
        );
        let mut required = |value: Option<&[u8]>, what: &str| {
            let value = value.unwrap_or_default();
            if value.is_empty() {
                errors.push(format!(
                    "{variable} has no {what}. It should look like {EXAMPLE}"
                ));
            } else if value.contains(&0) {
                errors.push(format!(
                    "{variable} has a {what} with a NUL character (%00)."
                ));
            }
            value.to_vec()
        };
        let mut ignored_parameters = parameters.ignored;
        let options = config
            .get_options()
            .and_then(|options| without_endpoint(options, &mut ignored_parameters));
        let role = required(config.get_user().map(str::as_bytes), "role (user name)");
        let password = required(config.get_password(), "password");
        let database = required(config.get_dbname().map(str::as_bytes), "database name");
        check_name(variable, "role", config.get_user(), &mut errors);
        check_name(variable, "database name", config.get_dbname(), &mut errors);

        let url = host.map(|host| Self {
            negotiation: match parameters.negotiation {
                Some(negotiation) => negotiation,
                // It saves a round trip. Neon's proxy supports it; PostgreSQL does from version 17 on.
                None if is_neon(&host) => SslNegotiation::Direct,
                None => SslNegotiation::Postgres,
            },
            host,
            port: config.get_ports().first().copied().unwrap_or(5432),
            role: String::from_utf8_lossy(&role).into_owned(),
            password: password.into(),
            database: String::from_utf8_lossy(&database).into_owned(),
            application_name: config.get_application_name().map(str::to_owned),
            options,
            channel_binding: config.get_channel_binding(),
            ignored_parameters,
        });
        errors.into_result(url)
    }

    /// The same database without the pooler.
    #[must_use]
    pub fn direct(self) -> Self {
        let host = match self.host.split_once('.') {
            Some((label, domain)) => format!(
                "{}.{domain}",
                label.strip_suffix(POOLER_SUFFIX).unwrap_or(label)
            ),
            None => self.host,
        };
        Self { host, ..self }
    }

    /// The same database for a function with this name. The server shows the name as the session's `application_name`,
    /// unless the connection string has one.
    #[must_use]
    pub fn for_function(mut self, name: &str) -> Self {
        self.application_name
            .get_or_insert_with(|| format!("todo/{}", name.replace('_', "-")));
        self
    }

    /// Whether the host is Neon's pooler.
    pub fn route(&self) -> Route {
        match self.host.split('.').next() {
            Some(label) if label.ends_with(POOLER_SUFFIX) => Route::Pooled,
            _ => Route::Direct,
        }
    }

    /// The server's host name, which its certificate must bear.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The role (user) that connects.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The password of a role, if it is the one that connects.
    pub fn password_of(&self, role: &str) -> Option<String> {
        (self.role == role)
            .then(|| String::from_utf8(self.password.expose_secret().to_vec()).ok())
            .flatten()
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// How TLS starts: after a request in clear text, which every version of PostgreSQL accepts, or at once.
    pub fn negotiation(&self) -> SslNegotiation {
        self.negotiation
    }

    /// The names of parameters that are ignored: they are meant for other drivers, or for clients without SNI.
    pub fn ignored_parameters(&self) -> &[String] {
        &self.ignored_parameters
    }

    /// The driver's configuration. TLS is always required. The host's addresses are tried in random order, so that a second
    /// attempt may reach another one.
    pub fn driver_config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.role)
            .password(self.password.expose_secret())
            .dbname(&self.database)
            .connect_timeout(timeouts::TCP_CONNECT)
            .load_balance_hosts(LoadBalanceHosts::Random)
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(self.negotiation)
            .channel_binding(self.channel_binding);
        if let Some(name) = &self.application_name {
            config.application_name(name);
        }
        if let Some(options) = &self.options {
            config.options(options);
        }
        config
    }
}

fn find_from(text: &str, start: usize, wanted: char) -> Option<usize> {
    text[start..].find(wanted).map(|offset| start + offset)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use tokio_postgres::config::Host;

    use super::*;

    const NEON: &str =
        "postgresql://owner:s3cret-word@ep-cool-1-pooler.eu-central-1.aws.neon.tech/todo";

    fn parse(text: &str) -> Result<DatabaseUrl, ConfigErrors> {
        DatabaseUrl::parse("DATABASE_URL", text, false)
    }

    fn problems(text: &str) -> Vec<String> {
        let problems = parse(text).expect_err("should be refused");
        let problems: Vec<_> = problems.iter().map(str::to_owned).collect();
        for problem in &problems {
            assert!(!problem.contains("s3cret"), "a secret in: {problem}");
            assert!(
                problem.ends_with(['.', 'e', ')']),
                "not a sentence: {problem}"
            );
        }
        problems
    }

    #[track_caller]
    fn refused(text: &str, because: &str) {
        let problems = problems(text);
        assert!(
            problems.iter().any(|problem| problem.contains(because)),
            "{because:?} is not in {problems:?}"
        );
    }

    #[test]
    fn a_neon_url_is_accepted_with_and_without_its_parameters() {
        for query in [
            "",
            "?",
            "?sslmode=require",
            "?sslmode=verify-ca",
            "?sslmode=verify-full&channel_binding=require",
            "?sslnegotiation=direct",
            "?options=endpoint%3Dep-cool-1&application_name=todo",
        ] {
            let url = parse(&format!("{NEON}{query}"))
                .unwrap_or_else(|problems| panic!("{query}: {problems:?}"));
            assert_eq!(
                (url.host(), url.role(), url.database(), url.route()),
                (
                    "ep-cool-1-pooler.eu-central-1.aws.neon.tech",
                    "owner",
                    "todo",
                    Route::Pooled
                )
            );
            assert_eq!(
                url.driver_config().get_password(),
                Some("s3cret-word".as_bytes())
            );
            assert_eq!(url.driver_config().get_ssl_mode(), SslMode::Require);
        }
        assert!(parse("postgres://a:b@ep-1.neon.build:6543/d").is_ok_and(|url| url.port == 6543));
        assert!(
            parse(" postgresql://a:b@EP-1.Neon.Tech/d\n")
                .is_ok_and(|url| url.host() == "ep-1.neon.tech")
        );
    }

    #[test]
    fn parameters_reach_the_driver() {
        let url = parse(&format!(
            "{NEON}?sslnegotiation=postgres&channel_binding=require&options=-c%20jit%3Doff&application_name=a"
        ));
        let config = url.expect("a good URL").for_function("b").driver_config();
        assert_eq!(config.get_ssl_negotiation(), SslNegotiation::Postgres);
        assert_eq!(config.get_channel_binding(), ChannelBinding::Require);
        assert_eq!(config.get_options(), Some("-c jit=off"));
        assert_eq!(config.get_application_name(), Some("a"));
        let config = parse(NEON).expect("a good URL").for_function("get_task");
        let config = config.driver_config();
        assert_eq!(config.get_channel_binding(), ChannelBinding::Prefer);
        assert_eq!(config.get_application_name(), Some("todo/get-task"));
    }

    #[test]
    fn tls_starts_at_once_for_neon_hosts_by_default() {
        let local = "postgresql://u:p@localhost/d";
        for (url, expected) in [
            (NEON.to_owned(), SslNegotiation::Direct),
            (
                format!("{NEON}?sslnegotiation=direct"),
                SslNegotiation::Direct,
            ),
            (
                format!("{NEON}?sslnegotiation=postgres"),
                SslNegotiation::Postgres,
            ),
            (local.to_owned(), SslNegotiation::Postgres),
            (
                format!("{local}?sslnegotiation=direct"),
                SslNegotiation::Direct,
            ),
        ] {
            let parsed = DatabaseUrl::parse("DATABASE_URL", &url, true).expect("a good URL");
            let negotiated = parsed.direct().driver_config().get_ssl_negotiation();
            assert_eq!(negotiated, expected, "{url}");
        }
    }

    #[test]
    fn options_that_name_the_endpoint_are_ignored() {
        for (options, kept, ignored) in [
            ("endpoint%3Dep-cool-1", None, &["options=endpoint"][..]),
            ("project%3Dep-cool-1", None, &["options=project"]),
            (
                "-c%20jit%3Doff%20endpoint%3Da",
                Some("-c jit=off"),
                &["options=endpoint"],
            ),
            ("-c%20jit%3Doff", Some("-c jit=off"), &[]),
        ] {
            let url = parse(&format!("{NEON}?options={options}")).expect("a good URL");
            assert_eq!(url.driver_config().get_options(), kept, "{options}");
            assert_eq!(url.ignored_parameters(), ignored, "{options}");
        }
    }

    #[test]
    fn parameters_of_other_drivers_are_ignored() {
        let url = parse(&format!(
            "{NEON}?pgbouncer=true&connection_limit=1&schema=public&sslrootcert=/x&host=evil.com"
        ));
        assert_eq!(
            url.expect("a good URL").ignored_parameters(),
            [
                "pgbouncer",
                "connection_limit",
                "schema",
                "sslrootcert",
                "host"
            ]
        );
    }

    #[test]
    fn the_direct_host_has_no_pooler_suffix() {
        let direct = parse(NEON).expect("a good URL").direct();
        assert_eq!(
            (direct.host(), direct.route()),
            ("ep-cool-1.eu-central-1.aws.neon.tech", Route::Direct)
        );
        let direct = parse("postgres://a:b@ep-1.neon.tech/d")
            .expect("a good URL")
            .direct();
        assert_eq!(direct.host(), "ep-1.neon.tech");
    }

    #[test]
    fn another_store_is_named_and_refused() {
        refused("", "is missing");
        refused("sqlite:///./todo.db", "SQLite");
        refused("sqlite+aiosqlite:///s3cret.db", "SQLite");
        refused("mysql://u:s3cret@db.neon.tech/d", "MySQL");
        refused("file:/tmp/s3cret.db", "names a file");
        refused("todo.db", "not a PostgreSQL connection string");
        refused(
            "postgresql+asyncpg://u:s3cret@ep-1.neon.tech/d",
            "postgresql:// instead",
        );
        refused("'postgresql://u:s3cret@ep-1.neon.tech/d'", "quotes");
        refused("psql 'postgresql://u:s3cret@ep-1.neon.tech/d'", "quotes");
        refused("postgresql:u:s3cret@ep-1.neon.tech/d", "two slashes");
    }

    #[test]
    fn a_host_outside_neon_is_refused() {
        for host in [
            "db.example.com",
            "evilneon.tech",
            "ep-1.neon.tech.evil.com",
            "neon.tech",
            ".neon.tech",
            "ep..neon.tech",
            "10.0.0.1",
            "ep-1.neon.tech,evil.com",
        ] {
            assert_eq!(
                problems(&format!("postgresql://u:s3cret@{host}/d")).len(),
                1,
                "{host}"
            );
        }
        refused("postgresql://u:s3cret@localhost/d", "ALLOW_LOCAL_DATABASE");
        refused("postgresql:///d?host=/tmp", "no host");
    }

    #[test]
    fn a_loopback_host_is_accepted_where_it_is_allowed() {
        for host in ["localhost:55432", "127.0.0.1", "127.1.2.3", "[::1]:5432"] {
            let url =
                DatabaseUrl::parse("DATABASE_URL", &format!("postgresql://u:p@{host}/d"), true);
            assert_eq!(
                url.unwrap_or_else(|problems| panic!("{host}: {problems:?}"))
                    .route(),
                Route::Direct
            );
        }
        assert!(
            DatabaseUrl::parse("DATABASE_URL", "postgresql://u:p@192.168.0.1/d", true).is_err()
        );
    }

    #[test]
    fn weak_tls_is_refused() {
        for mode in ["disable", "allow", "prefer", "", "nonsense"] {
            refused(&format!("{NEON}?sslmode={mode}"), "sslmode=require");
        }
        refused(&format!("{NEON}?channel_binding=maybe"), "channel_binding");
        refused(&format!("{NEON}?sslnegotiation=maybe"), "sslnegotiation");
    }

    #[test]
    fn everything_missing_is_reported_at_once() {
        let problems = problems("postgresql://@db.example.com?sslmode=disable");
        for what in [
            "sslmode",
            "db.example.com",
            "role",
            "password",
            "database name",
        ] {
            assert!(
                problems.iter().any(|problem| problem.contains(what)),
                "{what} is not in {problems:?}"
            );
        }
        assert_eq!(problems.len(), 5);
    }

    #[test]
    fn a_secret_that_is_not_encoded_is_not_repeated() {
        refused("postgresql://u:s3cr@s3cret@ep-1.neon.tech/d", "%40");
        refused("postgresql://u:x@s3cret/y@ep-1.neon.tech/d", "%40");
        refused("postgresql://u:x@s3cret?y@ep-1.neon.tech/d", "%40");
        refused("postgresql://u:s3cret", "cannot be read");
        refused("postgresql://s3cret/d", "names a host,");
        refused("postgresql://u:s3cret%00@ep-1.neon.tech/d", "NUL");
    }

    #[test]
    fn the_debug_form_holds_no_password() {
        assert!(!format!("{:?}", parse(NEON)).contains("s3cret"));
    }

    /// Secrets: marks with characters that have a meaning in a URL, plain or percent-encoded.
    fn secrets() -> impl Strategy<Value = String> {
        let mark = select(vec![
            "",
            ":",
            "/",
            "?",
            "#",
            "&",
            "=",
            "%",
            "+",
            " ",
            "\"",
            "'",
            "[",
            "]",
            "\\",
            ",",
            "//",
            "://",
            "%40",
            "%3A",
            "%2F",
            "%2",
            "%zz",
            "%ff",
            "%00",
            "\0",
            "\n",
            "\u{e9}",
            "\u{1f600}",
            "?sslmode=",
            "&options=",
        ]);
        vec(mark, 1..4).prop_map(|marks| format!("\u{e000}{}\u{e000}", marks.join("\u{e000}")))
    }

    /// Connection strings, most of them valid. A mark stands for the secret, so that no change can hide it.
    fn urls() -> impl Strategy<Value = String> {
        let scheme = select(vec![
            "postgresql://",
            "postgres://",
            "POSTGRESQL://",
            "postgresql:",
            "postgresql+psycopg://",
            "mysql://",
            "",
        ]);
        let scheme = prop_oneof![5 => Just("postgresql://"), 1 => scheme];
        let role = prop_oneof![4 => Just("owner"), 1 => select(vec!["", "%61", "o%", "o:p", "o/p", "\u{e9}"])];
        let host = select(vec![
            "ep-1.neon.tech",
            "EP-1-pooler.eu.aws.neon.build",
            "neon.tech",
            "ep-1.neon.tech.",
            "ep-1.neon.tech,ep-2.neon.tech",
            "ep-1.neon.tech:99999",
            "ep-1.neon.tech:",
            "evil.com",
            "evil.com%00.neon.tech",
            "evil.com%2f.neon.tech",
            "[::1]",
            "[::1",
            "127.0.0.1",
            "%2ftmp",
            "",
            "\u{ff45}.neon.tech",
            "a b.neon.tech",
            "ep-1.neon.tech\\.evil.com",
        ]);
        let host = prop_oneof![3 => Just("ep-1.neon.tech"), 1 => host];
        let database = prop_oneof![4 => Just("/todo"), 1 => select(vec!["", "/", "/a/b", "/%74", "/%00", "/%"])];
        let parameter = select(vec![
            "sslmode=require",
            "sslmode=disable",
            "sslmode=\u{e000}",
            "sslmode",
            "channel_binding=require",
            "channel_binding=\u{e000}",
            "sslnegotiation=direct",
            "sslnegotiation=\u{e000}",
            "options=\u{e000}",
            "options=%",
            "application_name=\u{e000}",
            "password=\u{e000}",
            "host=evil.com",
            "hostaddr=10.0.0.1",
            "port=1",
            "user=root",
            "=\u{e000}",
            "a=b=c",
            "%",
        ]);
        let query = vec(parameter, 0..3).prop_map(|parameters| parameters.join("&"));
        (scheme, role, secrets(), host, database, query).prop_map(
            |(scheme, role, secret, host, database, query)| {
                format!("{scheme}{role}:{secret}@{host}{database}?{query}")
            },
        )
    }

    /// Asserts that an accepted URL is Neon with TLS, and that no sentence holds the secret.
    fn is_safe(text: &str) -> Result<(), TestCaseError> {
        match parse(text) {
            Ok(url) => {
                let host = url.host();
                prop_assert!(
                    host.ends_with(".neon.tech") || host.ends_with(".neon.build"),
                    "{}",
                    host
                );
                prop_assert!(
                    host.bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
                    "{}",
                    host
                );
                let config = url.driver_config();
                prop_assert_eq!(config.get_hosts(), [Host::Tcp(host.to_owned())]);
                prop_assert!(config.get_hostaddrs().is_empty());
                prop_assert_eq!(config.get_ssl_mode(), SslMode::Require);
                for part in [config.get_user(), config.get_dbname()] {
                    prop_assert!(part.is_some_and(|part| !part.is_empty() && !part.contains('\0')));
                }
                prop_assert!(
                    config
                        .get_password()
                        .is_some_and(|password| !password.is_empty())
                );
            }
            Err(problems) => {
                prop_assert!(problems.iter().next().is_some());
                for problem in problems.iter() {
                    prop_assert!(!problem.contains("s3cret"), "{}", problem);
                }
            }
        }
        Ok(())
    }

    proptest! {
            #[test]
            fn any_text_is_accepted_or_refused_safely(text in any::<String>(), rest in "[a-z@:/?#&=%.,0\\[\\]]{0,20}") {
                is_safe(&text)?;
                is_safe(&format!("postgresql://{rest}"))?;
            }

            #[test]
            fn no_url_leads_elsewhere_or_reveals_the_secret(
                url in urls(),
                at in any::<Index>(),
                letter in any::<Option<char>>(),
            ) {
    let typed = url.replace('\u{e000}', "s3cret");
                is_safe(&typed)?;
                if let Ok(url) = parse(&typed) {
                    let told = format!("{} {} {:?}", url.role(), url.database(), url.ignored_parameters());
                    prop_assert!(!told.contains("s3cret"), "{}", told);
                }
                // Not in the query: the names of parameters are told, and one without its = is all name.
                let (location, query) = url.rsplit_once('?').expect("a query");
                let mut mistyped: Vec<_> = location.chars().collect();
                let at = at.index(mistyped.len());
                match letter {
                    Some(letter) => mistyped.insert(at, letter),
                    None => drop(mistyped.remove(at)),
                }
                let mistyped = String::from_iter(mistyped);
                is_safe(&format!("{mistyped}?{query}").replace('\u{e000}', "s3cret"))?;
            }

            #[test]
            fn an_encoded_password_is_decoded(password in vec(1..=u8::MAX, 8..20)) {
                let encoded = format!("%{}", password.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join("%"));
                let url = parse(&format!("postgresql://owner:{encoded}@ep-1.neon.tech/todo")).expect("a good URL");
                let config = url.driver_config();
                prop_assert_eq!(config.get_password(), Some(password.as_slice()));
            }
        }
}
