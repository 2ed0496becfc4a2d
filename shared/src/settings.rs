//! The settings: what the environment says, read once at start.
//!
//! Everything that is wrong is reported at once, each problem as a sentence that says what to write instead. No sentence
//! holds a secret.

use std::time::Duration;

use secrecy::SecretString;

use crate::config_errors::ConfigErrors;
use crate::database::DatabaseUrl;

pub mod json;

/// The shortest `SECRET_KEY` that is accepted, in bytes: the length of the output of HS256 (RFC 7518, 3.2).
const MIN_SECRET_KEY_BYTES: usize = 32;

/// Values from examples and defaults where a secret belongs. The first was the default of the legacy service.
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
    /// The database: `DATABASE_URL`.
    pub database: DatabaseUrl,
    /// Signs the tokens: `SECRET_KEY`.
    pub secret_key: SecretString,
    /// Signed them before the last rotation, and is still accepted: `SECRET_KEY_PREVIOUS`.
    pub previous_secret_key: Option<SecretString>,
    /// The lifetime of a token: `ACCESS_TOKEN_EXPIRE_MINUTES`, default 30.
    pub token_lifetime: Duration,
    /// The limits on logins and registrations.
    pub rate_limits: RateLimits,
    /// How many requests this instance may get at once: `AWS_LAMBDA_MAX_CONCURRENCY`, default 1. Lambda sets it, on managed
    /// instances only.
    pub max_concurrency: usize,
}

/// How many failed logins are allowed within 15 minutes, and how many registrations within an hour.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Failed logins for one account from one address: `MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS`.
    pub logins_per_account_and_address: i32,
    /// Failed logins for one account: `MAX_FAILED_LOGINS_PER_ACCOUNT`.
    pub logins_per_account: i32,
    /// Failed logins from one address: `MAX_FAILED_LOGINS_PER_ADDRESS`.
    pub logins_per_address: i32,
    /// Registrations from one address: `MAX_REGISTRATIONS_PER_ADDRESS`.
    pub registrations_per_address: i32,
}

impl Settings {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    /// Every problem.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        json::check()?;
        Self::from_lookup(&variable)
    }

    /// Reads `DATABASE_URL` alone, for a function that signs no tokens.
    ///
    /// # Errors
    /// Every problem.
    pub fn database_from_env() -> Result<DatabaseUrl, ConfigErrors> {
        json::check()?;
        trusted_database(&variable)
    }

    pub(crate) fn from_lookup(
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let database = errors.collect(trusted_database(variable));
        let secret_key = errors.collect(secret_key(variable));
        let token_lifetime = errors.collect(token_lifetime(variable));
        let rate_limits = errors.collect(rate_limits(variable));
        let settings = (|| {
            Some(Self {
                database: database?,
                secret_key: secret_key?,
                previous_secret_key: variable("SECRET_KEY_PREVIOUS").map(SecretString::from),
                token_lifetime: token_lifetime?,
                rate_limits: rate_limits?,
                max_concurrency: max_concurrency(variable),
            })
        })();
        errors.into_result(settings)
    }
}

/// Whether Lambda, or a program that stands in for it, started this process.
pub fn is_on_lambda() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// Requires that Lambda started this process.
pub(crate) fn require_lambda() -> Result<(), ConfigErrors> {
    if is_on_lambda() {
        return Ok(());
    }
    Err(
        "This is a Lambda function, and there is no Lambda around it. Run `./dev up` to serve it here."
            .into(),
    )
}

/// A variable of the environment, or a member of the settings in JSON. An empty or blank one counts as missing: that is how
/// deployments leave one out.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
        .or_else(|| json::member(name))
}

/// `DATABASE_URL`.
///
/// # Errors
/// Every problem.
pub fn database(variable: &impl Fn(&str) -> Option<String>) -> Result<DatabaseUrl, ConfigErrors> {
    DatabaseUrl::parse(
        "DATABASE_URL",
        &variable("DATABASE_URL").unwrap_or_default(),
        local_allowed(variable),
    )
}

/// `DATABASE_URL`, and certificates to verify its server with.
fn trusted_database(
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<DatabaseUrl, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let database = errors.collect(database(variable));
    errors.collect(check_ca_file(variable));
    errors.into_result(database)
}

/// Whether `ALLOW_LOCAL_DATABASE` lets a connection string name this machine.
pub fn local_allowed(variable: &impl Fn(&str) -> Option<String>) -> bool {
    variable("ALLOW_LOCAL_DATABASE").as_deref() == Some("true")
}

/// Checks `SSL_CERT_FILE`. The TLS library would ignore a missing file silently, and then trust no server.
///
/// # Errors
/// The problem.
pub fn check_ca_file(variable: &impl Fn(&str) -> Option<String>) -> Result<(), ConfigErrors> {
    let Some(path) = variable("SSL_CERT_FILE") else {
        return Ok(());
    };
    match std::fs::read(&path) {
        Err(error) => Err(format!(
            "SSL_CERT_FILE names {path}, which cannot be read ({}). Name a PEM file with the certificates to trust, \
             or leave the variable out to trust the system's.",
            error.kind()
        )
        .into()),
        Ok(content) if !content.windows(BEGIN.len()).any(|window| window == BEGIN) => Err(format!(
            "SSL_CERT_FILE names {path}, which holds no certificate. Name a PEM file with the certificates to trust, \
             or leave the variable out to trust the system's."
        )
        .into()),
        Ok(_) => Ok(()),
    }
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn secret_key(variable: &impl Fn(&str) -> Option<String>) -> Result<SecretString, ConfigErrors> {
    let Some(key) = variable("SECRET_KEY") else {
        return Err(format!("SECRET_KEY is missing. {SECRET_KEY_ADVICE}").into());
    };
    let lower = key.to_lowercase();
    if PLACEHOLDERS
        .iter()
        .any(|placeholder| lower.contains(placeholder))
    {
        let problem = "SECRET_KEY is a placeholder that anyone can read in an example.";
        Err(format!("{problem} {SECRET_KEY_ADVICE}").into())
    } else if key.len() < MIN_SECRET_KEY_BYTES {
        Err(format!(
            "SECRET_KEY is too short ({} bytes). {SECRET_KEY_ADVICE}",
            key.len()
        )
        .into())
    } else if key.bytes().all(|byte| Some(byte) == key.bytes().next()) {
        Err(format!("SECRET_KEY is one character over and over. {SECRET_KEY_ADVICE}").into())
    } else {
        Ok(key.into())
    }
}

const SECRET_KEY_ADVICE: &str =
    "Set it to at least 32 random bytes, for example the output of `openssl rand -hex 32`.";

fn token_lifetime(variable: &impl Fn(&str) -> Option<String>) -> Result<Duration, ConfigErrors> {
    let Some(text) = variable("ACCESS_TOKEN_EXPIRE_MINUTES") else {
        return Ok(DEFAULT_TOKEN_LIFETIME);
    };
    match text.trim().parse::<u32>() {
        Ok(minutes) if minutes > 0 => Ok(Duration::from_mins(minutes.into())),
        _ => Err(format!(
            "ACCESS_TOKEN_EXPIRE_MINUTES is {text:?}. Write a whole number of minutes from 1, or leave it out for {}.",
            DEFAULT_TOKEN_LIFETIME.as_secs() / 60
        )
        .into()),
    }
}

fn rate_limits(variable: &impl Fn(&str) -> Option<String>) -> Result<RateLimits, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let mut limit = |name: &str, default: i32| {
        let Some(text) = variable(name) else {
            return default;
        };
        match text.trim().parse() {
            Ok(limit) if limit > 0 => limit,
            _ => {
                errors.push(format!(
                    "{name} is {text:?}. Write a whole number from 1, or leave it out for {default}."
                ));
                default
            }
        }
    };
    let limits = RateLimits {
        logins_per_account_and_address: limit("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", 10),
        logins_per_account: limit("MAX_FAILED_LOGINS_PER_ACCOUNT", 100),
        logins_per_address: limit("MAX_FAILED_LOGINS_PER_ADDRESS", 1_000),
        registrations_per_address: limit("MAX_REGISTRATIONS_PER_ADDRESS", 300),
    };
    errors.into_result(Some(limits))
}

fn max_concurrency(variable: &impl Fn(&str) -> Option<String>) -> usize {
    variable("AWS_LAMBDA_MAX_CONCURRENCY")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
        .max(1)
}
