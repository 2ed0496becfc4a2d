//! The settings: what the environment says, read once at start.
//!
//! Everything that is wrong is reported at once, each problem as a sentence that says what to write instead. No sentence
//! holds a secret.

use std::time::Duration;

pub use environment::variable;
pub use limits::{AccountLimits, RateLimits};
pub use trusted_proxies::TrustedProxies;

use environment::{checked, whole_number};
use secrecy::SecretString;

use crate::config_errors::ConfigErrors;
use crate::database::DatabaseUrl;

mod environment;
pub mod json;
mod limits;
mod secret_key;
mod trusted_proxies;

const DEFAULT_SESSION_MAX_DAYS: i32 = 30;

/// A hundred years: any number up to it gives a time that PostgreSQL can hold.
const LONGEST_SESSION_DAYS: i32 = 36_500;

const DEFAULT_TOKEN_MINUTES: u32 = 60;

/// All that a function needs to know before it can serve.
#[derive(Debug)]
pub struct Settings {
    /// The database: `DATABASE_URL`.
    pub database: DatabaseUrl,
    /// Signs the tokens: `SECRET_KEY`.
    pub secret_key: SecretString,
    /// Signed them before the last rotation, and is still accepted: `SECRET_KEY_PREVIOUS`.
    pub previous_secret_key: Option<SecretString>,
    /// The lifetime of a token: `ACCESS_TOKEN_EXPIRE_MINUTES`, default 60.
    pub token_lifetime: Duration,
    /// How many days after the password was given a login can be refreshed: `SESSION_MAX_DAYS`, default 30.
    pub session_max_days: i32,
    /// The limits on logins and registrations.
    pub rate_limits: RateLimits,
    /// The limits on what one account stores.
    pub account_limits: AccountLimits,
    /// The proxies whose `X-Forwarded-For` is believed: `TRUSTED_PROXIES`, default none.
    pub trusted_proxies: TrustedProxies,
    /// How many requests this instance may get at once: `AWS_LAMBDA_MAX_CONCURRENCY`, default 1. Lambda sets it, on managed
    /// instances only.
    pub max_concurrency: usize,
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

    /// Reads the settings from any place that finds them by their names.
    ///
    /// # Errors
    /// Every problem.
    pub fn from_lookup(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let database = errors.collect(trusted_database(variable));
        let secret_key = errors.collect(secret_key::current(variable("SECRET_KEY")));
        let previous_secret_key =
            errors.collect(secret_key::previous(variable("SECRET_KEY_PREVIOUS")));
        let token_minutes = errors.collect(whole_number(
            variable,
            "ACCESS_TOKEN_EXPIRE_MINUTES",
            u32::MAX,
            DEFAULT_TOKEN_MINUTES,
        ));
        let session_max_days = errors.collect(whole_number(
            variable,
            "SESSION_MAX_DAYS",
            LONGEST_SESSION_DAYS,
            DEFAULT_SESSION_MAX_DAYS,
        ));
        let rate_limits = errors.collect(RateLimits::read(variable));
        let account_limits = errors.collect(AccountLimits::read(variable));
        // Read elsewhere; a value that cannot be read there counts as missing.
        for name in ["METRICS_NAMESPACE", "AWS_LAMBDA_LOG_LEVEL", "RUST_LOG"] {
            errors.collect(checked(variable, name));
        }
        let trusted_proxies = variable("TRUSTED_PROXIES").unwrap_or_default();
        let trusted_proxies = errors.collect(TrustedProxies::parse(&trusted_proxies));
        let settings = (|| {
            Some(Self {
                database: database?,
                secret_key: secret_key?,
                previous_secret_key: previous_secret_key?,
                token_lifetime: Duration::from_mins(token_minutes?.into()),
                session_max_days: session_max_days?,
                rate_limits: rate_limits?,
                account_limits: account_limits?,
                trusted_proxies: trusted_proxies?,
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
    errors.collect(checked(variable, "ALLOW_LOCAL_DATABASE"));
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
    let Some(path) = checked(variable, "SSL_CERT_FILE")? else {
        return Ok(());
    };
    // The TLS library reads the variable itself, as it is.
    if std::env::var("SSL_CERT_FILE").is_ok_and(|value| value != path && value.trim_ascii() == path)
    {
        return Err("SSL_CERT_FILE has white space around the path. Remove it.".into());
    }
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

fn max_concurrency(variable: &impl Fn(&str) -> Option<String>) -> usize {
    variable("AWS_LAMBDA_MAX_CONCURRENCY")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
        .max(1)
}
