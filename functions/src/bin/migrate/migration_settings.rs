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
            database: database.for_function(env!("CARGO_BIN_NAME")),
            application_role,
        });
        errors.into_result(settings)
    }
}

fn application_role() -> Result<Option<ApplicationRole>, ConfigErrors> {
    let Some(name) = variable("APPLICATION_ROLE") else {
        return Ok(None);
    };
    // Where one connection string serves both, it names the role that connects, which exists.
    let password = match (variable("DATABASE_URL_UNPOOLED"), variable("DATABASE_URL")) {
        (Some(_), Some(_)) => database(&variable)?.password_of(&name),
        _ => None,
    };
    let password = password.map(SecretString::from);
    Ok(Some(ApplicationRole { name, password }))
}
