//! What the environment says, read once at start.
//!
//! Everything that is wrong with it is named at once, each problem as a sentence that says what to write instead, and
//! no sentence ever holds a secret.

use std::time::Duration;

use secrecy::SecretString;

use crate::auth::throttle::Limits;

mod database_url;

pub use database_url::{DatabaseUrl, Route};

/// The shortest `SECRET_KEY` that is accepted, in bytes: as long as the output of HS256 (RFC 7518, 3.2).
const MIN_SECRET_KEY_BYTES: usize = 32;

/// Values that stand in examples and defaults where a secret belongs; the first was the default of the service that
/// this one replaces.
const PLACEHOLDERS: [&str; 5] = [
    "your-super-secret-key",
    "your-secret-key",
    "change-me",
    "changeme",
    "change-this",
];

const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_mins(30);

/// All that a function needs to know before it can serve.
#[derive(Debug)]
pub struct Settings {
    /// Where the data is: `DATABASE_URL`.
    pub database: DatabaseUrl,
    /// What signs the tokens: `SECRET_KEY`.
    pub secret_key: SecretString,
    /// What signed them before the last rotation and is still accepted: `SECRET_KEY_PREVIOUS`.
    pub previous_secret_key: Option<SecretString>,
    /// How long a token lives: `ACCESS_TOKEN_EXPIRE_MINUTES`, default 30.
    pub token_lifetime: Duration,
    /// How much a stranger may try.
    pub limits: Limits,
    /// How many requests this instance may be given at once: `AWS_LAMBDA_MAX_CONCURRENCY`, default 1. It is Lambda
    /// that sets it, on managed instances alone.
    pub max_concurrency: usize,
}

/// Why the settings cannot be used: one sentence for each problem.
pub type Problems = Vec<String>;

impl Settings {
    /// Reads the settings from the process's environment.
    ///
    /// # Errors
    /// Every problem found, each as a sentence that says what to do and holds no secret.
    pub fn from_env() -> Result<Self, Problems> {
        Self::from_lookup(&variable)
    }

    /// Reads `DATABASE_URL` alone, for a function that signs no tokens.
    ///
    /// # Errors
    /// As for [`Settings::from_env`].
    pub fn database_from_env() -> Result<DatabaseUrl, Problems> {
        trusted_database(&variable)
    }

    pub(crate) fn from_lookup(
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::new();

        let database = collect(&mut problems, trusted_database(variable));
        let secret_key = variable("SECRET_KEY");
        if let Err(problem) = check_secret_key(secret_key.as_deref()) {
            problems.push(problem);
        }
        let token_lifetime = collect(
            &mut problems,
            token_lifetime(variable).map_err(|problem| vec![problem]),
        );
        let limits = collect(&mut problems, limits(variable));

        match (database, secret_key, token_lifetime, limits) {
            (Some(database), Some(secret_key), Some(token_lifetime), Some(limits))
                if problems.is_empty() =>
            {
                Ok(Self {
                    database,
                    secret_key: secret_key.into(),
                    previous_secret_key: variable("SECRET_KEY_PREVIOUS").map(SecretString::from),
                    token_lifetime,
                    limits,
                    max_concurrency: max_concurrency(variable),
                })
            }
            _ => Err(problems),
        }
    }
}

/// What `migrate` needs to know.
#[derive(Debug)]
pub struct MigrationSettings {
    /// The direct connection string, since a migration's lock and its statements need one session, which a pooler does
    /// not keep: `DATABASE_URL_UNPOOLED`, or `DATABASE_URL` without the pooler in its host.
    pub database: DatabaseUrl,
    /// Who is to be let in: `APPLICATION_ROLE`.
    pub application_role: Option<ApplicationRole>,
}

/// The role that the functions work as, where it is not the one that owns the tables.
#[derive(Debug)]
pub struct ApplicationRole {
    /// Its name.
    pub name: String,
    /// Its password, should it have to be created: the one in `DATABASE_URL`, if that names the role.
    pub password: Option<SecretString>,
}

impl MigrationSettings {
    /// Reads the settings from the process's environment.
    ///
    /// # Errors
    /// Every problem found, as for [`Settings::from_env`].
    pub fn from_env() -> Result<Self, Problems> {
        Self::from_lookup(&variable)
    }

    fn from_lookup(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let database = match variable("DATABASE_URL_UNPOOLED") {
            Some(url) => DatabaseUrl::parse("DATABASE_URL_UNPOOLED", &url, local_allowed(variable)),
            None => database(variable).map(DatabaseUrl::direct),
        };
        let database = collect(&mut problems, database);
        if database
            .as_ref()
            .is_some_and(|database| database.route() == Route::Pooled)
        {
            problems.push(
                "DATABASE_URL_UNPOOLED names a pooled host. Migrations need the direct one: the host without \
                 \"-pooler\" in its first label."
                    .to_owned(),
            );
        }
        if let Err(problem) = check_ca_file(variable) {
            problems.push(problem);
        }
        let application_role = collect(&mut problems, application_role(variable)).flatten();
        match database {
            Some(database) if problems.is_empty() => Ok(Self {
                database,
                application_role,
            }),
            _ => Err(problems),
        }
    }
}

fn application_role(
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Option<ApplicationRole>, Problems> {
    let Some(name) = variable("APPLICATION_ROLE") else {
        return Ok(None);
    };
    // Where one string serves both, the role is the one that connects, and exists.
    let password = match (variable("DATABASE_URL_UNPOOLED"), variable("DATABASE_URL")) {
        (Some(_), Some(_)) => database(variable)?.password_of(&name),
        _ => None,
    };
    let password = password.map(SecretString::from);
    Ok(Some(ApplicationRole { name, password }))
}

fn collect<T>(problems: &mut Problems, result: Result<T, Problems>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

/// Whether Lambda, or what stands in for it, started this process.
pub fn is_on_lambda() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// Refuses to go on without it.
pub(crate) fn require_lambda() -> Result<(), String> {
    if is_on_lambda() {
        return Ok(());
    }
    Err(
        "This is a Lambda function, and there is no Lambda around it. Run `./dev up` to serve it here."
            .to_owned(),
    )
}

/// A variable that is empty or blank counts as missing: that is how deployments leave one out.
fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

fn database(variable: &impl Fn(&str) -> Option<String>) -> Result<DatabaseUrl, Problems> {
    DatabaseUrl::parse(
        "DATABASE_URL",
        &variable("DATABASE_URL").unwrap_or_default(),
        local_allowed(variable),
    )
}

/// `DATABASE_URL`, and certificates to tell its server by.
fn trusted_database(variable: &impl Fn(&str) -> Option<String>) -> Result<DatabaseUrl, Problems> {
    let mut problems = Problems::new();
    let database = collect(&mut problems, database(variable));
    if let Err(problem) = check_ca_file(variable) {
        problems.push(problem);
    }
    database.filter(|_| problems.is_empty()).ok_or(problems)
}

fn local_allowed(variable: &impl Fn(&str) -> Option<String>) -> bool {
    variable("ALLOW_LOCAL_DATABASE").as_deref() == Some("true")
}

/// The TLS library would ignore a missing `SSL_CERT_FILE` in silence and then trust no one.
fn check_ca_file(variable: &impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let Some(path) = variable("SSL_CERT_FILE") else {
        return Ok(());
    };
    match std::fs::read(&path) {
        Err(error) => Err(format!(
            "SSL_CERT_FILE names {path}, which cannot be read ({}). Name a PEM file with the certificates to trust, \
             or leave the variable out to trust the system's.",
            error.kind()
        )),
        Ok(content) if !content.windows(BEGIN.len()).any(|window| window == BEGIN) => Err(format!(
            "SSL_CERT_FILE names {path}, which holds no certificate. Name a PEM file with the certificates to trust, \
             or leave the variable out to trust the system's."
        )),
        Ok(_) => Ok(()),
    }
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn check_secret_key(secret_key: Option<&str>) -> Result<(), String> {
    let advice =
        "Set it to at least 32 random bytes, for example the output of `openssl rand -hex 32`.";
    match secret_key {
        None => Err(format!("SECRET_KEY is missing. {advice}")),
        Some(key)
            if PLACEHOLDERS
                .iter()
                .any(|placeholder| key.to_lowercase().contains(placeholder)) =>
        {
            Err(format!(
                "SECRET_KEY is a placeholder that anyone can read in an example. {advice}"
            ))
        }
        Some(key) if key.len() < MIN_SECRET_KEY_BYTES => Err(format!(
            "SECRET_KEY is too short ({} bytes). {advice}",
            key.len()
        )),
        Some(key) if key.bytes().all(|byte| Some(byte) == key.bytes().next()) => Err(format!(
            "SECRET_KEY is one character over and over. {advice}"
        )),
        Some(_) => Ok(()),
    }
}

fn token_lifetime(variable: &impl Fn(&str) -> Option<String>) -> Result<Duration, String> {
    let Some(text) = variable("ACCESS_TOKEN_EXPIRE_MINUTES") else {
        return Ok(DEFAULT_TOKEN_LIFETIME);
    };
    match text.trim().parse::<u32>() {
        Ok(minutes) if minutes > 0 => Ok(Duration::from_mins(minutes.into())),
        _ => Err(format!(
            "ACCESS_TOKEN_EXPIRE_MINUTES is {text:?}. Write a whole number of minutes from 1, or leave it out for 30."
        )),
    }
}

fn limits(variable: &impl Fn(&str) -> Option<String>) -> Result<Limits, Problems> {
    let mut problems = Problems::new();
    let mut limit = |name: &str, default: i32| {
        let Some(text) = variable(name) else {
            return default;
        };
        match text.trim().parse() {
            Ok(limit) if limit > 0 => limit,
            _ => {
                problems.push(format!(
                    "{name} is {text:?}. Write a whole number from 1, or leave it out for {default}."
                ));
                default
            }
        }
    };
    let limits = Limits {
        per_account_and_address: limit("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", 10),
        per_account: limit("MAX_FAILED_LOGINS_PER_ACCOUNT", 100),
        per_address: limit("MAX_FAILED_LOGINS_PER_ADDRESS", 1_000),
        registrations: limit("MAX_REGISTRATIONS_PER_ADDRESS", 300),
    };
    if problems.is_empty() {
        Ok(limits)
    } else {
        Err(problems)
    }
}

fn max_concurrency(variable: &impl Fn(&str) -> Option<String>) -> usize {
    variable("AWS_LAMBDA_MAX_CONCURRENCY")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
        .max(1)
}
