//! A look into the database, beside the API.

use std::time::Duration;

use native_tls::TlsConnector;
use postgres_native_tls::MakeTlsConnector;
use serde_json::Value;
use tokio::time::sleep;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config};

use crate::function::{Environment, run};
use crate::{leave_out, unique};

/// `DATABASE_URL`, where it is set: what the functions work on, as a role that owns nothing.
pub fn url() -> Option<String> {
    variable("DATABASE_URL")
}

/// `DATABASE_URL_UNPOOLED`, or else `DATABASE_URL`: the role that owns the tables, and may make further databases.
fn owner_url() -> String {
    variable("DATABASE_URL_UNPOOLED")
        .or_else(url)
        .expect("a DATABASE_URL")
}

/// A variable of the environment, where it is set.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A connection to the database under test, or `None`, said on stderr, where `DATABASE_URL` is not set: then the API is
/// a deployment elsewhere.
pub async fn connect(checks: &str) -> Option<Database> {
    if let Some(url) = url() {
        Some(Database::connect(&url).await)
    } else {
        leave_out(checks, "DATABASE_URL is not set");
        None
    }
}

/// A connection.
pub struct Database(Client);

impl Database {
    /// Connects as the functions do.
    pub async fn connect(url: &str) -> Self {
        // The driver knows no stricter word than `require`; the certificate is verified all the same.
        let config: Config = url
            .replace("sslmode=verify-full", "sslmode=require")
            .parse()
            .expect("a DATABASE_URL");
        let tls = MakeTlsConnector::new(TlsConnector::new().expect("TLS"));
        let (client, connection) = config.connect(tls).await.expect("a connection");
        tokio::spawn(connection);
        Self(client)
    }

    /// Runs a statement.
    pub async fn execute(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> u64 {
        self.0
            .execute(statement, parameters)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"))
    }

    /// Runs a script of statements.
    pub async fn run(&self, script: &str) {
        let ended = self.0.batch_execute(script).await;
        ended.unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// The rows of a query, each as JSON.
    pub async fn rows(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Value> {
        let query = format!("SELECT to_jsonb(found) FROM ({query}) AS found");
        let rows = self
            .0
            .query(&query, parameters)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The one row of a query, as JSON.
    pub async fn row(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Value {
        let mut rows = self.rows(query, parameters).await;
        assert_eq!(rows.len(), 1, "{query}");
        rows.remove(0)
    }
}

/// A database of a test's own on the same server, dropped at the end.
pub struct OwnDatabase {
    name: String,
    server: Database,
    /// A connection to it, as its owner.
    pub owner: Database,
    /// What a function that works on it is given.
    pub environment: Environment,
}

impl OwnDatabase {
    /// Creates one without tables.
    pub async fn empty() -> Self {
        Self::create("").await
    }

    /// Creates one with the tables of this build.
    pub async fn migrated() -> Self {
        let own = Self::empty().await;
        let ended = run("migrate", &[], &own.environment).await;
        assert_eq!(ended.status, Some(0), "{}", ended.output);
        own
    }

    /// Creates one that is like another, to which there must be no connection.
    pub async fn like(template: &str) -> Self {
        Self::create(&format!("TEMPLATE {template}")).await
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
            .filter_map(|variable| Some((variable, self::variable(variable)?)))
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

    /// Another connection to it, as its owner.
    pub async fn connect(&self) -> Database {
        Database::connect(&with_database(&owner_url(), &self.name)).await
    }

    /// What a function is given that works on it by way of the pooler, where there is one.
    pub fn pooled_environment(&self) -> Option<Environment> {
        let url = with_database(&variable("POOLED_DATABASE_URL")?, &self.name);
        Some(self.environment.clone().with("DATABASE_URL", url))
    }

    /// Lets it have so many connections at once, of those that come from now on; -1 is any number.
    pub async fn limit_connections(&self, limit: i32) {
        let limit = format!("ALTER DATABASE {} CONNECTION LIMIT {limit}", self.name);
        self.server.execute(&limit, &[]).await;
    }

    /// Waits until so many of its statements wait for a lock.
    pub async fn until_waiting(&self, count: i64) {
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                       WHERE datname = current_database() AND NOT granted";
        for _ in 0..500 {
            if self.owner.row(waiting, &[]).await["count"] == count {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no {count} statements wait for a lock");
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name. From then on it has no connection of ours, so that it can be a template.
    pub fn into_template(self) -> String {
        self.name
    }

    /// Drops it.
    pub async fn drop(self) {
        drop_database(&self.server, &self.name).await;
    }
}

/// Drops a template.
pub async fn drop_template(name: &str) {
    drop_database(&Database::connect(&owner_url()).await, name).await;
}

async fn drop_database(server: &Database, name: &str) {
    server
        .execute(&format!("DROP DATABASE {name} WITH (FORCE)"), &[])
        .await;
}

/// A connection string with another database in it.
fn with_database(url: &str, name: &str) -> String {
    let (location, query) = url.split_once('?').unwrap_or((url, ""));
    let (server, _) = location.rsplit_once('/').expect("a database name");
    format!("{server}/{name}?{query}")
}

/// A column of times, written as the API writes them.
pub fn time(column: &str) -> String {
    format!(
        "regexp_replace(to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '\\.000000$', '') AS {column}"
    )
}
