//! Direct access to the database, without the API.

use std::time::Duration;

use native_tls::TlsConnector;
use postgres_native_tls::MakeTlsConnector;
use serde_json::Value;
use tokio::time::sleep;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config};

use crate::function::{Environment, run};
use crate::{skip, unique};

/// `DATABASE_URL`, if it is set: the database of the functions, as a role that owns nothing.
pub fn url() -> Option<String> {
    env_var("DATABASE_URL")
}

/// `DATABASE_URL_UNPOOLED`, or else `DATABASE_URL`. Its role owns the tables and can create databases.
fn owner_url() -> String {
    env_var("DATABASE_URL_UNPOOLED")
        .or_else(url)
        .expect("a DATABASE_URL")
}

/// An environment variable, if it is set and not empty.
pub fn env_var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Connects to the database under test. Without `DATABASE_URL` the API is deployed elsewhere: this returns `None` and
/// reports the skipped checks on stderr.
pub async fn connect_or_skip(checks: &str) -> Option<Database> {
    if let Some(url) = url() {
        Some(Database::connect(&url).await)
    } else {
        skip(checks, "DATABASE_URL is not set");
        None
    }
}

/// A connection to a database.
pub struct Database(Client);

impl Database {
    /// Connects to the database of `DATABASE_URL`.
    pub async fn from_env() -> Self {
        Self::connect(&url().expect("a DATABASE_URL")).await
    }

    /// Connects over TLS, as the functions do.
    pub async fn connect(url: &str) -> Self {
        // The driver does not know `verify-full`. The TLS connector verifies the certificate anyway.
        let config: Config = url
            .replace("sslmode=verify-full", "sslmode=require")
            .parse()
            .expect("a DATABASE_URL");
        let tls = MakeTlsConnector::new(TlsConnector::new().expect("TLS"));
        let (client, connection) = config.connect(tls).await.expect("a connection");
        tokio::spawn(connection);
        Self(client)
    }

    /// Runs one statement and returns the number of affected rows.
    pub async fn execute(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> u64 {
        self.0
            .execute(statement, parameters)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"))
    }

    /// Runs several statements.
    pub async fn batch_execute(&self, script: &str) {
        let result = self.0.batch_execute(script).await;
        result.unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// Runs a query and returns each row as JSON.
    pub async fn query(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Value> {
        let query = format!("SELECT to_jsonb(found) FROM ({query}) AS found");
        let rows = self
            .0
            .query(&query, parameters)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Runs a query that returns one row, as JSON.
    pub async fn query_one(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Value {
        let mut rows = self.query(query, parameters).await;
        assert_eq!(rows.len(), 1, "{query}");
        rows.remove(0)
    }
}

/// A database for one test, on the same server. The test drops it at the end.
pub struct TestDatabase {
    name: String,
    /// A connection to another database of the server.
    server: Database,
    /// A connection to this database, as its owner.
    pub owner: Database,
    /// The settings of functions that use this database.
    pub environment: Environment,
}

impl TestDatabase {
    /// Creates a database without tables.
    pub async fn empty() -> Self {
        Self::create("").await
    }

    /// Creates a database with the tables of this build.
    pub async fn migrated() -> Self {
        let database = Self::empty().await;
        database.migrate().await;
        database
    }

    /// Creates the tables of this build.
    pub async fn migrate(&self) {
        let output = run("migrate", &[], &self.environment).await;
        assert_eq!(output.status, Some(0), "{}", output.text);
    }

    /// Creates a copy of a database that has no open connections.
    pub async fn from_template(template: &str) -> Self {
        Self::create(&format!("TEMPLATE {template}")).await
    }

    /// Creates a database without tables and with this encoding.
    pub async fn with_encoding(encoding: &str) -> Self {
        Self::with_locale(&format!("LOCALE 'C' ENCODING '{encoding}'")).await
    }

    /// Creates a database without tables and with these options of `CREATE DATABASE`, which concern its locale.
    pub async fn with_locale(options: &str) -> Self {
        Self::create(&format!("TEMPLATE template0 {options}")).await
    }

    async fn create(options: &str) -> Self {
        let name = format!("test_{}", unique());
        let server = Database::connect(&owner_url()).await;
        server
            .execute(&format!("CREATE DATABASE {name} {options}"), &[])
            .await;
        let environment = Environment::default();
        let environment = ["DATABASE_URL", "DATABASE_URL_UNPOOLED"]
            .into_iter()
            .filter_map(|variable| Some((variable, env_var(variable)?)))
            .fold(environment, |environment, (variable, url)| {
                environment.with(variable, with_database(&url, &name))
            });
        Self {
            owner: Database::connect(&with_database(&owner_url(), &name)).await,
            name,
            server,
            environment,
        }
    }

    /// Opens another connection, as the owner of the database.
    pub async fn connect(&self) -> Database {
        Database::connect(&with_database(&owner_url(), &self.name)).await
    }

    /// A session that keeps all others away from a table until it is dropped, or rolls back.
    pub async fn lock_table(&self, table: &str) -> Database {
        let holder = self.connect().await;
        let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        holder.batch_execute(&lock).await;
        holder
    }

    /// The settings of functions that connect through the pooler, if there is one.
    pub fn pooled_environment(&self) -> Option<Environment> {
        let url = with_database(&env_var("POOLED_DATABASE_URL")?, &self.name);
        Some(self.environment.clone().with("DATABASE_URL", url))
    }

    /// Limits the number of connections. Open ones are not closed; -1 means no limit.
    pub async fn set_connection_limit(&self, limit: i32) {
        let limit = format!("ALTER DATABASE {} CONNECTION LIMIT {limit}", self.name);
        self.server.execute(&limit, &[]).await;
    }

    /// Waits until this many statements of the database wait for a lock.
    pub async fn wait_for_blocked_statements(&self, count: i64) {
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                       WHERE datname = current_database() AND NOT granted";
        for _ in 0..500 {
            if self.owner.query_one(waiting, &[]).await["count"] == count {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} statements should wait for a lock");
    }

    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Closes the connection, so that the database can be a template, and returns its name.
    pub fn into_template(self) -> String {
        self.name
    }

    /// Drops the database.
    pub async fn drop(self) {
        drop_database(&self.server, &self.name).await;
    }
}

/// Drops a template database.
pub async fn drop_template(name: &str) {
    drop_database(&Database::connect(&owner_url()).await, name).await;
}

async fn drop_database(server: &Database, name: &str) {
    server
        .execute(&format!("DROP DATABASE {name} WITH (FORCE)"), &[])
        .await;
}

/// A connection string for another database of the same server.
fn with_database(url: &str, name: &str) -> String {
    let (location, query) = url.split_once('?').unwrap_or((url, ""));
    let (server, _) = location.rsplit_once('/').expect("a database name");
    format!("{server}/{name}?{query}")
}

/// A timestamp column in the format of the API.
pub fn timestamp_as_text(column: &str) -> String {
    format!(
        "regexp_replace(to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '\\.000000$', '') AS {column}"
    )
}
