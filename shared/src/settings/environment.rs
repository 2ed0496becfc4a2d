//! Reading the variables of the environment.

use std::fmt::Display;
use std::str::FromStr;

use super::json;
use crate::config_errors::ConfigErrors;
use crate::setting_text::check_value;

/// A variable of the environment, or a member of the settings in JSON, without white space (in ASCII) around it. An empty
/// one counts as missing: that is how deployments leave one out. What is not UTF-8 becomes U+FFFD, which [`check_value`]
/// refuses.
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name).unwrap_or_default();
    let value = value.to_string_lossy();
    let value = value.trim_ascii();
    if value.is_empty() {
        return json::member(name);
    }
    Some(value.to_owned())
}

/// A variable that [`check_value`] accepts.
///
/// # Errors
/// The problem.
pub(super) fn checked(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<String>, ConfigErrors> {
    let value = variable(name);
    value.map_or(Ok(None), |value| {
        check_value(name, &value).map(|()| Some(value))
    })
}

/// A whole number from 1 to `most`.
///
/// # Errors
/// The problem.
pub(super) fn whole_number<T: Copy + FromStr + Display + PartialOrd + From<u8>>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
    most: T,
    default: T,
) -> Result<T, ConfigErrors> {
    let Some(text) = checked(variable, name)? else {
        return Ok(default);
    };
    match text.parse() {
        Ok(number) if number >= T::from(1) && number <= most => Ok(number),
        _ => Err(format!(
            "{name} is {text:?}. Write a whole number from 1 to {most}, or leave it out for {default}."
        )
        .into()),
    }
}
