//! How much an account may store, and how often it may be tried.

use super::environment::whole_number;
use crate::config_errors::ConfigErrors;

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

impl RateLimits {
    /// Reads the settings.
    ///
    /// # Errors
    /// Every problem.
    pub(super) fn read(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut limit =
            |name, default| errors.collect(whole_number(variable, name, i32::MAX, default));
        let limits = (
            limit("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", 10),
            limit("MAX_FAILED_LOGINS_PER_ACCOUNT", 100),
            limit("MAX_FAILED_LOGINS_PER_ADDRESS", 1_000),
            limit("MAX_REGISTRATIONS_PER_ADDRESS", 300),
        );
        let limits = (|| {
            Some(Self {
                logins_per_account_and_address: limits.0?,
                logins_per_account: limits.1?,
                logins_per_address: limits.2?,
                registrations_per_address: limits.3?,
            })
        })();
        errors.into_result(limits)
    }
}

/// What one account may store.
#[derive(Clone, Copy, Debug)]
pub struct AccountLimits {
    /// The number of tasks: `MAX_TASKS_PER_ACCOUNT`.
    pub tasks: i32,
    /// The bytes of the tasks' texts, in UTF-8: `MAX_BYTES_PER_ACCOUNT`.
    pub bytes: i64,
}

impl AccountLimits {
    /// Reads the settings.
    ///
    /// # Errors
    /// Every problem.
    pub(super) fn read(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let tasks = errors.collect(whole_number(
            variable,
            "MAX_TASKS_PER_ACCOUNT",
            i32::MAX,
            20_000,
        ));
        let bytes = errors.collect(whole_number(
            variable,
            "MAX_BYTES_PER_ACCOUNT",
            i64::MAX,
            20_000_000,
        ));
        let limits = (|| {
            Some(Self {
                tasks: tasks?,
                bytes: bytes?,
            })
        })();
        errors.into_result(limits)
    }
}
