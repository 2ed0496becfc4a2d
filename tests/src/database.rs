//! A look into the database, beside the API.

use native_tls::TlsConnector;
use postgres_native_tls::MakeTlsConnector;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config};

use crate::{leave_out, unique};

/// `DATABASE_URL`, where it is set.
pub fn url() -> Option<String> {
    std::env::var("DATABASE_URL")
        .ok()
        .filter(|url| !url.is_empty())
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

/// An empty database of a test's own on the same server, dropped at the end.
pub struct OwnDatabase {
    name: String,
    server: Database,
    /// Its connection string.
    pub url: String,
}

impl OwnDatabase {
    /// Creates it.
    pub async fn create(server: Database) -> Self {
        let name = format!("test_{}", unique());
        server
            .execute(&format!("CREATE DATABASE {name}"), &[])
            .await;
        let url = url().expect("a DATABASE_URL");
        let (location, query) = url.split_once('?').unwrap_or((&url, ""));
        let (server_part, _) = location.rsplit_once('/').expect("a database name");
        Self {
            url: format!("{server_part}/{name}?{query}"),
            name,
            server,
        }
    }

    /// Drops it.
    pub async fn drop(self) {
        self.server
            .execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name), &[])
            .await;
    }
}

/// A column of times, written as the API writes them.
pub fn time(column: &str) -> String {
    format!(
        "regexp_replace(to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '\\.000000$', '') AS {column}"
    )
}
