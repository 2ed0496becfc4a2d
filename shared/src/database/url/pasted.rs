//! What people paste instead of a connection string, or around it: each has a sentence of its own, because the parser would
//! find something else wrong, or nothing.

use std::net::Ipv6Addr;

use super::checks::{EXAMPLE, is_neon};
use crate::config_errors::ConfigErrors;
use crate::setting_text::{count_without, is_quote};

/// The host in [`EXAMPLE`].
const EXAMPLE_HOST: &str = "ep-name-123456";

/// The password in the connection strings that Neon's documentation shows.
const DOCUMENTED_PASSWORD: &str = "AbC123dEf";

/// Words that stand for a password.
const PASSWORD_WORDS: [&str; 24] = [
    "a", "change", "database", "db", "here", "in", "insert", "me", "my", "neon", "new", "owner",
    "pass", "password", "postgres", "pw", "pwd", "role", "secret", "some", "the", "this", "user",
    "your",
];

/// How many of a character hide a password.
const MASK_LENGTH: usize = 3;

/// The parts of a connection string, as they were written.
pub(super) struct Parts<'a> {
    role: &'a str,
    password: &'a str,
    host: &'a str,
    database: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    /// Divides what stands between the scheme and the question mark, in which at most one @ stands.
    pub(super) fn new(location: &'a str, query: &'a str) -> Self {
        let (credentials, place) = location.split_once('@').unwrap_or(("", location));
        let (role, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (host, database) = place.split_once('/').unwrap_or((place, ""));
        Self {
            role,
            password,
            host,
            database,
            query,
        }
    }

    /// Refuses placeholders, and remains of what stood around the connection string.
    ///
    /// # Errors
    /// Every problem. The sentences name a part and do not repeat it.
    pub(super) fn check(&self, variable: &str) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        for part in self.placeholders() {
            errors.push(format!(
                "{variable} has a placeholder in place of the {part}. Write the connection string that the Neon console \
                 shows after \"Show password\": {EXAMPLE}"
            ));
        }
        if errors.iter().next().is_some() {
            return Err(errors);
        }
        if [self.host, self.database, self.query]
            .iter()
            .any(|part| part.contains(is_quote))
        {
            errors.push(format!(
                "{variable} holds a quote behind the password. Write the connection string without quotes."
            ));
        }
        if [self.role, self.host, self.database, self.query]
            .iter()
            .any(|part| part.contains(' '))
        {
            errors.push(format!(
                "{variable} holds a space. Remove it; one that belongs to a name is written as %20."
            ));
        }
        if self.database.contains('/') {
            errors.push(format!(
                "{variable} has a slash behind the database name. Remove it; one that belongs to the name is written \
                 as %2F."
            ));
        }
        if self.query.contains("&amp;") || self.query.contains("&#") {
            errors.push(format!(
                "{variable} was copied out of HTML: it holds &amp; between its parameters. Write & instead."
            ));
        }
        if self.database.ends_with(is_punctuation) || self.query.ends_with(is_punctuation) {
            errors.push(format!(
                "{variable} ends with a punctuation mark that does not belong to it. Remove it."
            ));
        }
        errors.into_result(Some(()))
    }

    /// The names of the parts that are placeholders.
    fn placeholders(&self) -> Vec<&'static str> {
        let host = self.host_name();
        // Elsewhere, on the server of a developer, a real one may look like it.
        let is_neon = is_neon(&host.to_ascii_lowercase());
        let is_placeholder = |part: &str| is_template(part) || is_masked(part);
        let has_no_password = is_neon && (is_hidden(self.password) || is_example(self.password));
        [
            ("role", is_placeholder(self.role)),
            ("password", is_placeholder(self.password) || has_no_password),
            (
                "host",
                is_placeholder(host) || host.to_ascii_lowercase().starts_with(EXAMPLE_HOST),
            ),
            ("database name", is_placeholder(self.database)),
        ]
        .into_iter()
        .filter_map(|(part, is_placeholder)| is_placeholder.then_some(part))
        .collect()
    }

    /// The host without a port.
    fn host_name(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => self.host,
        }
    }
}

/// Whether a part is a variable of a template or of a shell: `[YOUR-PASSWORD]`, `<password>`, `{{password}}`, `$PGPASSWORD`.
fn is_template(part: &str) -> bool {
    let is_ipv6 = |inner: &str| inner.parse::<Ipv6Addr>().is_ok();
    // In capitals, because a password may begin with a `$`.
    let is_name = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let enclosed = [
        ("[", "]"),
        ("<", ">"),
        ("{", "}"),
        ("${", "}"),
        ("$(", ")"),
        ("%3C", "%3E"),
        ("%5B", "%5D"),
    ]
    .iter()
    .any(|(open, close)| {
        let inner = part
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close));
        inner.is_some_and(|inner| !is_ipv6(inner))
    });
    let is_shell_variable = part.strip_prefix('$').is_some_and(is_name);
    let is_windows_variable = part.len() > 2
        && part
            .strip_prefix('%')
            .and_then(|rest| rest.strip_suffix('%'))
            .is_some_and(is_name);
    enclosed || is_shell_variable || is_windows_variable
}

/// Whether a part is only something like `****` or `...`.
fn is_masked(part: &str) -> bool {
    let first = part.chars().next();
    let only_one = part.chars().all(|character| Some(character) == first);
    part.chars().count() >= MASK_LENGTH
        && only_one
        && first.is_some_and(|first| "*\u{2022}\u{25cf}xX._-?#".contains(first))
        || part == "\u{2026}"
}

/// Whether the console has hidden a part of the password.
fn is_hidden(password: &str) -> bool {
    ["*", "\u{2022}", "\u{25cf}"]
        .iter()
        .any(|mark| password.contains(&mark.repeat(MASK_LENGTH)))
}

/// Whether a password is one that an example shows.
fn is_example(password: &str) -> bool {
    password.eq_ignore_ascii_case(DOCUMENTED_PASSWORD)
        || (password.contains(char::is_alphanumeric)
            && count_without(&PASSWORD_WORDS, password) == 0)
}

fn is_punctuation(character: char) -> bool {
    matches!(
        character,
        ';' | ',' | '.' | ')' | ']' | '}' | '>' | '|' | '\\'
    )
}

#[cfg(test)]
mod tests {
    use crate::database::DatabaseUrl;

    const HOST: &str = "ep-cool-1-pooler.eu-central-1.aws.neon.tech";

    fn problems(url: &str) -> Vec<String> {
        match DatabaseUrl::parse("DATABASE_URL", url, true) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(str::to_owned).collect(),
        }
    }

    /// Asserts that a URL is refused for one reason, and that no secret is told.
    fn refused(url: &str, because: &str) {
        let problems = problems(url);
        assert!(
            problems.len() == 1 && problems[0].contains(because),
            "{url}: {because:?} is not in {problems:?}"
        );
        assert!(!problems[0].contains("s3cret"), "{problems:?}");
    }

    #[test]
    fn a_placeholder_for_the_password_is_refused() {
        for password in [
            "****",
            "****************",
            "npg_************",
            "\u{2022}\u{2022}\u{2022}\u{2022}",
            "xxxxxxxx",
            "...",
            "\u{2026}",
            "[YOUR-PASSWORD]",
            "<password>",
            "{password}",
            "{{ password }}",
            "${PGPASSWORD}",
            "$PGPASSWORD",
            "$(pass neon)",
            "%PGPASSWORD%",
            "%3Cpassword%3E",
            "password",
            "PASSWORD",
            "your_password",
            "YOUR-PASSWORD-HERE",
            "A_NEW_PASSWORD",
            "changeme",
            "secret",
            "AbC123dEf",
        ] {
            refused(
                &format!("postgresql://owner:{password}@{HOST}/todo"),
                "placeholder in place of the password",
            );
        }
    }

    #[test]
    fn a_placeholder_for_another_part_is_refused() {
        for (url, part) in [
            (format!("postgresql://<role>:s3cret-1@{HOST}/todo"), "role"),
            (format!("postgresql://[user]:s3cret-1@{HOST}/todo"), "role"),
            (
                "postgresql://owner:s3cret-1@[neon_hostname]/todo".to_owned(),
                "host",
            ),
            (
                "postgresql://owner:s3cret-1@<endpoint>:5432/todo".to_owned(),
                "host",
            ),
            (
                "postgresql://owner:s3cret-1@${PGHOST}/todo".to_owned(),
                "host",
            ),
            (
                "postgresql://owner:s3cret-1@ep-name-123456-pooler.region.aws.neon.tech/todo"
                    .to_owned(),
                "host",
            ),
            (
                format!("postgresql://owner:s3cret-1@{HOST}/[dbname]"),
                "database name",
            ),
            (
                format!("postgresql://owner:s3cret-1@{HOST}/<dbname>?sslmode=require"),
                "database name",
            ),
            (
                format!("postgresql://owner:s3cret-1@{HOST}/$PGDATABASE"),
                "database name",
            ),
        ] {
            refused(&url, &format!("placeholder in place of the {part}"));
        }
    }

    #[test]
    fn real_passwords_are_accepted() {
        for password in [
            "npg_Ab1cD2eF3gH4",
            "pass%27word",
            "$ecret1",
            "a*b**c",
            "[a]b",
            "my-dog-has-a-password",
            "x",
            "xx",
            "a/b?c#d",
            "100%25",
            "pa ws",
            "\u{e9}\u{e8}",
        ] {
            let url = format!("postgresql://owner:{password}@{HOST}/todo?sslmode=require");
            assert_eq!(problems(&url), Vec::<String>::new(), "{password}");
        }
        for password in ["password", "postgres", "secret"] {
            let url = format!("postgresql://postgres:{password}@localhost:5432/todo");
            assert_eq!(problems(&url), Vec::<String>::new(), "{password}");
        }
        assert!(problems("postgresql://postgres:p@[::1]:5432/todo").is_empty());
    }

    #[test]
    fn what_was_copied_with_a_connection_string_is_refused() {
        let url = format!("postgresql://owner:s3cret-1@{HOST}/todo?sslmode=require");
        for (before, after, because) in [
            ("'", "'", "quotes"),
            ("\"", "\"", "quotes"),
            ("\u{201c}", "\u{201d}", "quotes"),
            ("`", "`", "quotes"),
            ("", "'", "quotes"),
            ("", "\"", "quotes"),
            ("psql '", "'", "command"),
            ("psql ", "", "command"),
            ("psql \"", "\"", "command"),
            ("DATABASE_URL=", "", "a name around"),
            ("export DATABASE_URL='", "'", "a name around"),
            ("<", ">", "brackets"),
            ("jdbc:", "", "Java"),
            ("", ";", "punctuation"),
            ("", ",", "punctuation"),
            ("", ")", "punctuation"),
            ("", &format!(" {url}"), "more than one connection string"),
            (
                "",
                "'&channel_binding=require",
                "a quote behind the password",
            ),
            ("", " &channel_binding=require", "a space"),
            ("", "&amp;channel_binding=require", "HTML"),
            ("\u{feff}", "", "U+FEFF"),
            ("", "\u{200b}", "U+200B"),
            ("", "\u{a0}", "U+00A0"),
            ("", "\n&channel_binding=require", "U+000A"),
            ("", "%0a", "sslmode=require"),
        ] {
            let problems = problems(&format!("{before}{url}{after}"));
            assert!(
                problems.iter().any(|problem| problem.contains(because)),
                "{before}…{after}: {problems:?}"
            );
            assert!(!problems.concat().contains("s3cret"), "{problems:?}");
        }
        refused(
            "https://console.neon.tech/app/projects/s3cret",
            "address of a page",
        );
    }

    #[test]
    fn a_name_that_is_not_what_it_seems_is_refused() {
        let url = |role: &str, database: &str| {
            format!("postgresql://{role}:s3cret-1@{HOST}/{database}?sslmode=require")
        };
        for (url, because) in [
            (url("owner", "neondb/"), "a slash"),
            (url("owner", "neondb/public"), "a slash"),
            (url("owner", "neondb\u{200b}"), "U+200B"),
            (url("owner", "neondb%E2%80%8B"), "U+200B"),
            (url("owner", "neondb%C2%A0"), "U+00A0"),
            (url("owner", "neondb%0A"), "U+000A"),
            (url("owner", "neondb%20"), "a space"),
            (url("owner", "neondb "), "a space"),
            (url("owner", "%22neondb%22"), "quotes"),
            (url("%27owner%27", "neondb"), "quotes"),
            (url("owner%EF%BB%BF", "neondb"), "U+FEFF"),
        ] {
            refused(&url, because);
        }
        assert!(problems(&url("the%20owner", "a%2Fb%20c")).is_empty());
    }
}
