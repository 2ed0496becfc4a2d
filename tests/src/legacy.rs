//! Databases of the legacy service, which this one replaces.

use std::fmt::Write as _;
use std::sync::LazyLock;

/// The password of every legacy user except the one with [`LONG_PASSWORD`].
pub const PASSWORD: &str = "the former password";

/// A password that is longer than the 72 bytes that bcrypt uses.
pub const LONG_PASSWORD: &str =
    "ein sehr langes Paßwort, länger als zweiundsiebzig Bytes, damit man sieht, was danach kommt";

/// A schema of the legacy service. It depends on the release that created it, and on later manual changes.
#[derive(Clone, Copy, Debug)]
pub struct LegacySchema {
    /// The tables with sessions.
    pub session_tables: &'static [&'static str],
    /// The name and the labels of the enum for priorities.
    pub priority_enum: (&'static str, [&'static str; 3]),
    /// Whether unique columns have a constraint. Otherwise they have a unique index.
    pub has_constraints: bool,
    /// Whether columns have defaults.
    pub has_defaults: bool,
}

const UPPER: (&str, [&str; 3]) = ("priorityenum", ["HIGH", "MEDIUM", "LOW"]);
const TITLE: (&str, [&str; 3]) = ("priority_enum", ["High", "Medium", "Low"]);
/// From an older script of the legacy service.
const MIXED: (&str, [&str; 3]) = ("priority_enum", ["LOW", "MEDIUM", "HIGH"]);

impl LegacySchema {
    /// The most common schema.
    pub const COMMON: Self = Self {
        session_tables: &["session"],
        priority_enum: UPPER,
        has_constraints: false,
        has_defaults: false,
    };

    /// Schemas that cover every pair of features.
    pub fn all() -> Vec<Self> {
        let both = &["session", "user_sessions"][..];
        let (session, user_sessions) = (&both[..1], &both[1..]);
        [
            (session, UPPER, false, false),
            (session, TITLE, true, true),
            (session, MIXED, false, true),
            (user_sessions, UPPER, true, false),
            (user_sessions, TITLE, false, false),
            (user_sessions, MIXED, true, true),
            (both, UPPER, true, true),
            (both, TITLE, false, false),
        ]
        .into_iter()
        .map(
            |(session_tables, priority_enum, has_constraints, has_defaults)| Self {
                session_tables,
                priority_enum,
                has_constraints,
                has_defaults,
            },
        )
        .collect()
    }

    /// The statements that create the tables.
    pub fn create_tables(&self) -> String {
        let unique = if self.has_constraints { " UNIQUE" } else { "" };
        let default = |value: &str| {
            if self.has_defaults {
                format!(" DEFAULT {value}")
            } else {
                String::new()
            }
        };
        let (enum_name, labels) = self.priority_enum;
        let (now, priority, no) = (
            default("CURRENT_TIMESTAMP"),
            default(&format!("'{}'", labels[1])),
            default("false"),
        );
        let mut sql = format!(
            "CREATE TYPE {enum_name} AS ENUM ('{}');
            CREATE TABLE \"user\" (
                username varchar(30) NOT NULL{unique},
                email varchar(255) NOT NULL{unique},
                id serial NOT NULL,
                hashed_password varchar NOT NULL,
                created_at timestamp without time zone NOT NULL{now},
                updated_at timestamp without time zone NOT NULL{now},
                PRIMARY KEY (id)
            );
            CREATE TABLE task (
                title varchar(200) NOT NULL,
                description varchar,
                due_date varchar,
                priority {enum_name} NOT NULL{priority},
                tags varchar,
                recursion_pattern varchar(100),
                completed boolean NOT NULL{no},
                id serial NOT NULL,
                user_id integer NOT NULL,
                created_at timestamp without time zone NOT NULL{now},
                updated_at timestamp without time zone NOT NULL{now},
                PRIMARY KEY (id),
                FOREIGN KEY(user_id) REFERENCES \"user\" (id)
            );",
            labels.join("', '")
        );
        for table in self.session_tables {
            write!(
                sql,
                "CREATE TABLE {table} (
                    id serial NOT NULL,
                    user_id integer NOT NULL,
                    token varchar(500) NOT NULL{unique},
                    token_jti varchar(255) NOT NULL{unique},
                    expires_at timestamp without time zone NOT NULL,
                    created_at timestamp without time zone NOT NULL{now},
                    last_used_at timestamp without time zone NOT NULL,
                    revoked boolean NOT NULL{no},
                    revoked_at timestamp without time zone,
                    PRIMARY KEY (id),
                    FOREIGN KEY(user_id) REFERENCES \"user\" (id)
                );"
            )
            .expect("a text");
        }
        if !self.has_constraints {
            let sessions = self
                .session_tables
                .iter()
                .flat_map(|table| [(*table, "token"), (*table, "token_jti")]);
            for (table, column) in [("user", "username"), ("user", "email")]
                .into_iter()
                .chain(sessions)
            {
                write!(
                    sql,
                    "CREATE UNIQUE INDEX ix_{table}_{column} ON \"{table}\" ({column});"
                )
                .expect("a text");
            }
        }
        sql
    }

    /// The statements that insert rows: a few users with unusual values, and `count` others. Each user has a session in
    /// each session table, and up to five tasks.
    pub fn insert_rows(&self, count: u32) -> String {
        let [high, medium, low] = match self.priority_enum.1 {
            [low, medium, high] if low.eq_ignore_ascii_case("low") => [high, medium, low],
            labels => labels,
        };
        let enum_name = self.priority_enum.0;
        let (hash, long_hash) = (&HASHES.0, &HASHES.1);
        let mut sql = format!(
            "INSERT INTO \"user\" (id, username, email, hashed_password, created_at, updated_at) VALUES
                (3, 'ada', 'ada@example.com', '{hash}', '2025-01-02 03:04:05', '2025-01-02 03:04:05.000006'),
                (5, 'Bob', 'Bob@Example.com', '{hash}', '2025-02-01', '2025-02-02'),
                (6, 'bob', 'bob@example.com', '{hash}', '2025-02-03', '2025-02-04'),
                (9, 'bob2', 'BOB@EXAMPLE.COM', '{hash}', '2025-02-05', '2025-02-06'),
                (11, 'nobody', '', '{hash}', '2025-03-01', '2025-03-01'),
                (12, 'nowhere', 'not an address', '{hash}', '2025-03-02', '2025-03-02'),
                (13, 'größe', 'GRÖSSE@EXÄMPLE.DE', '{hash}', '1999-12-31 23:59:59.999999', '9999-01-01'),
                (14, 'long', 'long@example.com', '{long_hash}', '2025-03-03', '2025-03-03');
            INSERT INTO \"user\" (id, username, email, hashed_password, created_at, updated_at)
            SELECT 100 + n, 'user' || n, 'user' || n || '@example.com', '{hash}',
                   '2025-04-01'::timestamp + n * interval '1.000001 s', '2025-05-01'::timestamp + n * interval '1 h'
            FROM generate_series(1, {count}) AS n;
            INSERT INTO task (title, description, due_date, priority, tags, recursion_pattern, completed, user_id,
                              created_at, updated_at)
            SELECT 'task ' || n,
                   nullif(repeat('Ω', n % 7), ''),
                   CASE n % 10 WHEN 0 THEN NULL WHEN 1 THEN repeat('9', 51) WHEN 2 THEN repeat('x', 3000)
                               WHEN 3 THEN '' ELSE '2026-11-23' END,
                   (ARRAY['{high}', '{medium}', '{low}'])[1 + n % 3]::{enum_name},
                   nullif(repeat('tag,', n % 4), ''),
                   nullif(repeat('r', n * 20 % 101), ''),
                   n % 2 = 0,
                   account.id,
                   '2025-06-01'::timestamp + n * interval '1.5 s',
                   '2025-07-01'::timestamp + n * interval '1 min'
            FROM \"user\" AS account, generate_series(1, 5) AS n
            ORDER BY n, account.id;
            DELETE FROM task WHERE id % 13 = 0;
            SELECT setval('user_id_seq', 1000 + {count}), setval('task_id_seq', 10 * (SELECT max(id) FROM task));"
        );
        for (number, table) in self.session_tables.iter().enumerate() {
            // With two tables, every second user has the same session in both. The tables differ in what is revoked.
            write!(
                sql,
                "INSERT INTO {table} (user_id, token, token_jti, expires_at, created_at, last_used_at, revoked, revoked_at)
                SELECT account.id,
                       rpad(name, CASE WHEN account.id % 3 = 0 THEN 500 ELSE 64 END, 'f'),
                       name,
                       now() AT TIME ZONE 'utc' + (account.id % 3 - 1) * interval '1 day',
                       '2025-08-01'::timestamp + account.id * interval '1 s',
                       '2025-08-02'::timestamp + account.id * interval '1 s',
                       revoked,
                       CASE WHEN revoked THEN '2025-08-03'::timestamp END
                FROM \"user\" AS account
                CROSS JOIN LATERAL (
                    SELECT 'jti-' || account.id || CASE WHEN account.id % 2 = 0 THEN '' ELSE '-{table}' END,
                           account.id % 4 = {number}
                ) AS one (name, revoked)
                ORDER BY account.id;
                SELECT setval('{table}_id_seq', 5000 + (SELECT max(id) FROM {table}));"
            )
            .expect("a text");
        }
        sql
    }
}

static HASHES: LazyLock<(String, String)> = LazyLock::new(|| {
    let hash = |password: &str| {
        // The legacy service cut off the bytes that bcrypt does not take.
        let bytes = password.as_bytes();
        bcrypt::hash(&bytes[..bytes.len().min(72)], 12).expect("a hash")
    };
    (hash(PASSWORD), hash(LONG_PASSWORD))
});
