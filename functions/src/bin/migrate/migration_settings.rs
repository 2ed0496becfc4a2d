//! The settings of `migrate`.

use secrecy::SecretString;
use shared::config_errors::ConfigErrors;
use shared::database::{DatabaseUrl, Route};
use shared::settings::{self, check_ca_file, database, local_allowed, variable};

/// What `migrate` needs to know.
#[derive(Debug)]
pub(crate) struct MigrationSettings {
    /// The direct connection string: `DATABASE_URL_UNPOOLED`, or `DATABASE_URL` without the pooler in its host. The lock of
    /// a migration and its statements need one session, which a pooler does not keep.
    pub(crate) database: DatabaseUrl,
    /// The role that the functions work as: `APPLICATION_ROLE`, or else that of `DATABASE_URL`.
    pub(crate) functions_role: String,
    /// The role to grant privileges to: `APPLICATION_ROLE`.
    pub(crate) application_role: Option<ApplicationRole>,
}

/// The role that the functions work as, where it does not own the tables.
#[derive(Debug)]
pub(crate) struct ApplicationRole {
    /// Its name.
    pub(crate) name: String,
    /// Its password, should the role have to be created: the one in `DATABASE_URL`, if that names the role.
    pub(crate) password: Option<SecretString>,
}

impl MigrationSettings {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    /// Every problem.
    pub(crate) fn from_env() -> Result<Self, ConfigErrors> {
        settings::json::check()?;
        let mut errors = ConfigErrors::default();
        let database = errors.collect(match variable("DATABASE_URL_UNPOOLED") {
            Some(url) => {
                DatabaseUrl::parse("DATABASE_URL_UNPOOLED", &url, local_allowed(&variable))
            }
            None => database(&variable).map(DatabaseUrl::direct),
        });
        if database
            .as_ref()
            .is_some_and(|database| database.route() == Route::Pooled)
        {
            errors.push(
                "DATABASE_URL_UNPOOLED names a pooled host. Migrations need the direct one: the host without \
                 \"-pooler\" in its first label.",
            );
        }
        errors.collect(check_ca_file(&variable));
        let application_role = errors.collect(application_role()).flatten();
        let settings = database.map(|database| Self {
            functions_role: functions_role(application_role.as_ref(), &database),
            database: database.for_function(env!("CARGO_BIN_NAME")),
            application_role,
        });
        errors.into_result(settings)
    }
}

fn functions_role(application_role: Option<&ApplicationRole>, own: &DatabaseUrl) -> String {
    if let Some(role) = application_role {
        return role.name.clone();
    }
    let functions = variable("DATABASE_URL").and_then(|_| database(&variable).ok());
    functions.as_ref().unwrap_or(own).role().to_owned()
}

fn application_role() -> Result<Option<ApplicationRole>, ConfigErrors> {
    let Some(name) = variable("APPLICATION_ROLE") else {
        return Ok(None);
    };
    check_role_name(&name)?;
    // Where one connection string serves both, it names the role that connects, which exists.
    let password = match (variable("DATABASE_URL_UNPOOLED"), variable("DATABASE_URL")) {
        (Some(_), Some(_)) => database(&variable)?.password_of(&name),
        _ => None,
    };
    let password = password.map(SecretString::from);
    Ok(Some(ApplicationRole { name, password }))
}

/// PostgreSQL cuts off what is longer.
const MAX_ROLE_BYTES: usize = 63;

/// Letters that show nothing: the fillers of Hangul.
const INVISIBLE_LETTERS: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

/// Refuses names that PostgreSQL would not keep as they are, and names that an operator could not read.
fn check_role_name(name: &str) -> Result<(), ConfigErrors> {
    let is_readable = |letter: char| match letter {
        '"' | '\'' | '`' => false,
        ' ' => true,
        _ => {
            letter.is_ascii_graphic()
                || letter.is_alphanumeric() && !INVISIBLE_LETTERS.contains(&letter)
        }
    };
    let problem = if let Some(letter) = name.chars().find(|letter| !is_readable(*letter)) {
        // Its code, since it may not be visible.
        format!("holds the character U+{:04X}", u32::from(letter))
    } else if name.len() > MAX_ROLE_BYTES {
        format!(
            "has {} bytes, and PostgreSQL keeps {MAX_ROLE_BYTES}",
            name.len()
        )
    } else if name.starts_with("pg_") || ["public", "none"].contains(&name) {
        "is a name that PostgreSQL keeps for itself".to_owned()
    } else {
        return Ok(());
    };
    Err(format!(
        "APPLICATION_ROLE {problem}. Write the name of the role as it is in DATABASE_URL, in letters, digits and \
         punctuation other than quotes."
    )
    .into())
}
