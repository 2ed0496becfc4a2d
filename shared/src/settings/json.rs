//! Settings in JSON: `SETTINGS_JSON`, and for `migrate` also `OWNER_SETTINGS_JSON`. The members of such an object are
//! settings. A deployment puts a whole secret of AWS Secrets Manager into one variable, because CloudFormation allows 60
//! references to secrets in a stack.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::config_errors::ConfigErrors;

/// The variables, the first one that has a setting counts. The functions have only the first. So `migrate`, which has
/// both, checks the values that the functions get.
const VARIABLES: [&str; 2] = ["SETTINGS_JSON", "OWNER_SETTINGS_JSON"];

/// Settings that libraries or the log read from the environment themselves. As members they would have no effect.
const ENVIRONMENT_ONLY: [&str; 4] = [
    "SSL_CERT_FILE",
    "METRICS_NAMESPACE",
    "AWS_LAMBDA_LOG_LEVEL",
    "RUST_LOG",
];

const EXAMPLE: &str = r#"{"DATABASE_URL": "postgresql://…", "SECRET_KEY": "…"}"#;

/// The members of the variables of this process. A variable that cannot be read has none; [`check`] reports it.
static MEMBERS: LazyLock<Vec<Members>> = LazyLock::new(|| {
    let members = VARIABLES.iter().map(|name| members(name, &text(name)));
    members.filter_map(Result::ok).collect()
});

type Members = BTreeMap<String, String>;

/// A setting in the JSON of this process.
pub(super) fn member(name: &str) -> Option<String> {
    let value = MEMBERS.iter().find_map(|members| members.get(name));
    value.cloned()
}

/// Checks the JSON of this process. Where it cannot be read, it is not known which other settings are missing.
///
/// # Errors
/// Every problem.
pub fn check() -> Result<(), ConfigErrors> {
    let mut errors = ConfigErrors::default();
    for name in VARIABLES {
        errors.collect(members(name, &text(name)));
    }
    errors.into_result(Some(()))
}

fn text(name: &str) -> String {
    let text = std::env::var_os(name).unwrap_or_default();
    // What is not UTF-8 becomes invalid JSON, and is reported as such.
    text.to_string_lossy().into_owned()
}

/// The members of an object as texts, without those that are null or blank. A text that is blank counts as no object.
fn members(variable: &str, text: &str) -> Result<Members, ConfigErrors> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(Members::new());
    }
    // Neither error repeats the text, which holds secrets.
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => {
            return Err(
                format!("{variable} is not a JSON object. Write one such as {EXAMPLE}.").into(),
            );
        }
        Err(error) => {
            return Err(format!(
                "{variable} is not JSON (line {}, column {}). Write an object such as {EXAMPLE}.",
                error.line(),
                error.column()
            )
            .into());
        }
    };
    let mut errors = ConfigErrors::default();
    let mut members = Members::new();
    for (name, value) in object {
        if ENVIRONMENT_ONLY.contains(&name.as_str()) {
            errors.push(format!(
                "{variable} has the member {name}, which is only read from a variable of its own. Move it there."
            ));
            continue;
        }
        let value = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null => continue,
            Value::Array(_) | Value::Object(_) => {
                errors.push(format!(
                    "The member {name:?} of {variable} is neither a text nor a number. Write a text."
                ));
                continue;
            }
        };
        let value = value.trim_ascii();
        if !value.is_empty() {
            members.insert(name, value.to_owned());
        }
    }
    errors.into_result(Some(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        members("SETTINGS_JSON", text)
            .expect_err("a problem")
            .to_string()
    }

    #[test]
    fn the_members_of_the_object_are_settings() {
        let json = r#"{"SECRET_KEY": " k\r\n", "ACCESS_TOKEN_EXPIRE_MINUTES": 60, "ALLOW_LOCAL_DATABASE": true,
                       "SECRET_KEY_PREVIOUS": null, "DATABASE_URL": " "}"#;
        let expected = [
            ("ACCESS_TOKEN_EXPIRE_MINUTES", "60"),
            ("ALLOW_LOCAL_DATABASE", "true"),
            ("SECRET_KEY", "k"),
        ];
        for text in [json.to_owned(), format!("\u{feff}{json}\n")] {
            let members = members("SETTINGS_JSON", &text).expect("settings");
            let members = members.iter().map(|(name, value)| (&**name, &**value));
            assert!(members.eq(expected));
        }
    }

    #[test]
    fn blank_json_holds_no_settings() {
        for text in ["", " \n", "{}"] {
            assert!(
                members("SETTINGS_JSON", text)
                    .expect("no problem")
                    .is_empty()
            );
        }
    }

    #[test]
    fn json_that_is_no_object_is_refused_without_its_secret() {
        for text in [
            "postgresql://u:s3cret@ep-1.neon.tech/d",
            r#""postgresql://u:s3cret@ep-1.neon.tech/d""#,
            r#"{"SECRET_KEY": "s3cret""#,
            r#"{"SECRET_KEY": "s3cret"} {"SECRET_KEY": "s3cret"}"#,
            r#"["s3cret"]"#,
            "{{resolve:secretsmanager:s3cret:SecretString}}",
        ] {
            let problems = problems(text);
            assert!(problems.starts_with("SETTINGS_JSON is not"), "{problems}");
            assert!(!problems.contains("s3cret"), "{problems}");
        }
    }

    #[test]
    fn every_member_that_has_no_effect_is_reported() {
        let problems = problems(
            r#"{"SSL_CERT_FILE": "/s3cret", "DATABASE_URL": {"host": "s3cret"}, "SECRET_KEY": ["s3cret"]}"#,
        );
        for name in ["SSL_CERT_FILE", "DATABASE_URL", "SECRET_KEY"] {
            assert!(problems.contains(name), "{problems}");
        }
        assert_eq!(problems.lines().count(), 3, "{problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
    }
}
