//! What the schema is compared with.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::failed;
use crate::error::Cause;

const UTC_NOW: &str =
    "timestamp without time zone NOT NULL DEFAULT (now() AT TIME ZONE 'utc'::text)";
const OF_A_USER: &str = "REFERENCES \"user\"(id) ON DELETE CASCADE";

/// Objects that belong to no table: what each is, and how the database describes it.
const TYPES_AND_FUNCTIONS: [(&str, &str); 4] = [
    ("enum priority_enum", "High, Medium, Low"),
    (
        "function update_updated_at_column()",
        "BEGIN NEW.updated_at := now() AT TIME ZONE 'utc'; RETURN NEW; END",
    ),
    (
        "function set_user_email_key()",
        "BEGIN NEW.email_key := CASE WHEN length(lower(NEW.email)) <= 255 THEN lower(NEW.email) END; RETURN NEW; END",
    ),
    (
        "function pass_on_user_email_key()",
        "BEGIN UPDATE \"user\" SET email_key = OLD.email_key WHERE id = (SELECT min(id) FROM \"user\" \
         WHERE email_key IS NULL AND lower(email) = OLD.email_key); RETURN NULL; END",
    ),
];

/// The tables: of each, what it is made of, and how the database describes that.
pub(super) const TABLES: [(&str, &[(&str, &str)]); 4] = [
    (
        "user",
        &[
            ("column id", "serial NOT NULL"),
            ("column username", "character varying(30) NOT NULL"),
            ("column email", "character varying(255) NOT NULL"),
            ("column hashed_password", "character varying(255) NOT NULL"),
            ("column email_key", "character varying(255)"),
            ("column created_at", UTC_NOW),
            ("column updated_at", UTC_NOW),
            ("primary key", "(id)"),
            ("unique key (username)", PRESENT),
            ("unique key (email)", PRESENT),
            ("unique key (email_key)", PRESENT),
            ("index idx_user_email", "btree (email)"),
            (
                "index idx_user_email_twin",
                "btree (lower(email::text)) WHERE email_key IS NULL",
            ),
            (
                "trigger update_user_updated_at",
                "BEFORE UPDATE FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) \
                 EXECUTE FUNCTION update_updated_at_column()",
            ),
            (
                "trigger set_user_email_key",
                "BEFORE INSERT OR UPDATE OF email FOR EACH ROW EXECUTE FUNCTION set_user_email_key()",
            ),
            (
                "trigger pass_on_user_email_key",
                "AFTER DELETE FOR EACH ROW WHEN (old.email_key IS NOT NULL) \
                 EXECUTE FUNCTION pass_on_user_email_key()",
            ),
        ],
    ),
    (
        "task",
        &[
            ("column id", "serial NOT NULL"),
            ("column user_id", "integer NOT NULL"),
            ("column title", "character varying(200) NOT NULL"),
            ("column description", "text"),
            ("column due_date", "character varying(50), or wider"),
            (
                "column priority",
                "priority_enum NOT NULL DEFAULT 'Medium'::priority_enum",
            ),
            ("column tags", "text"),
            ("column recursion_pattern", "character varying(100)"),
            ("column completed", "boolean NOT NULL DEFAULT false"),
            ("column created_at", UTC_NOW),
            ("column updated_at", UTC_NOW),
            ("primary key", "(id)"),
            ("foreign key (user_id)", OF_A_USER),
            ("index idx_task_user_id", "btree (user_id)"),
            ("index idx_task_completed", "btree (completed)"),
            (
                "trigger update_task_updated_at",
                "BEFORE UPDATE FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) \
                 EXECUTE FUNCTION update_updated_at_column()",
            ),
        ],
    ),
    (
        "session",
        &[
            ("column id", "serial NOT NULL"),
            ("column user_id", "integer NOT NULL"),
            ("column token_jti", "character varying(255) NOT NULL"),
            ("column token", "character varying(255) NOT NULL, or wider"),
            ("column expires_at", "timestamp without time zone NOT NULL"),
            ("column revoked", "boolean NOT NULL DEFAULT false"),
            ("column created_at", UTC_NOW),
            ("primary key", "(id)"),
            ("unique key (token_jti)", PRESENT),
            ("foreign key (user_id)", OF_A_USER),
            ("index idx_session_token_jti", "btree (token_jti)"),
            ("index idx_session_user_id", "btree (user_id)"),
        ],
    ),
    (
        "attempt",
        &[
            ("column key", "bytea NOT NULL"),
            ("column remaining", "integer NOT NULL"),
            ("column window_ends_at", "timestamp with time zone NOT NULL"),
            ("column strikes", "integer NOT NULL DEFAULT 0"),
            ("column known_until", "timestamp with time zone"),
            ("column expires_at", "timestamp with time zone NOT NULL"),
            ("primary key", "(key)"),
        ],
    ),
];

const PRESENT: &str = "present";

// One row for each object: the table ('' for none), what it is, and its description. Descriptions are those of
// PostgreSQL's own functions, without the names that the object bears already.
const LIVE: &str = r"
    WITH relation AS (
        SELECT name, to_regclass(quote_ident(name)) AS oid FROM unnest($1) AS name
    ), key AS (
        SELECT indexrelid, indrelid, indisprimary, indisvalid,
               indisunique AND indimmediate AND indisvalid AND indpred IS NULL AND indexprs IS NULL AS is_key,
               '(' || (SELECT string_agg(quote_ident(attname), ', ' ORDER BY position)
                       FROM unnest(indkey::smallint[]) WITH ORDINALITY AS part (number, position)
                       JOIN pg_attribute ON attrelid = indrelid AND attnum = part.number
                       WHERE position <= indnkeyatts) || ')' AS columns
        FROM pg_index
    )
    SELECT '', 'enum ' || typname, string_agg(enumlabel, ', ' ORDER BY enumsortorder)
    FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid
    WHERE pg_type_is_visible(pg_type.oid)
    GROUP BY typname
    UNION ALL
    SELECT '', format('function %s(%s)', proname, pg_get_function_identity_arguments(oid)),
           btrim(regexp_replace(prosrc, '\s+', ' ', 'g'))
    FROM pg_proc
    WHERE prorettype = 'trigger'::regtype AND pg_function_is_visible(oid)
    UNION ALL
    SELECT name, 'table', 'present'
    FROM relation
    WHERE oid IS NOT NULL
    UNION ALL
    SELECT name, 'column ' || attname,
           CASE WHEN is_serial THEN 'serial' ELSE format_type(atttypid, atttypmod) END
           || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
           || CASE WHEN attgenerated <> '' THEN ' GENERATED ALWAYS AS ' || expression
                   WHEN attidentity <> '' THEN ' GENERATED AS IDENTITY'
                   WHEN expression IS NULL OR is_serial THEN ''
                   ELSE ' DEFAULT ' || expression END
    FROM relation
    JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    CROSS JOIN pg_get_expr(adbin, adrelid) AS expression
    CROSS JOIN LATERAL (
        SELECT atttypid = 'integer'::regtype AND coalesce(
            expression = format(
                'nextval(%L::regclass)',
                pg_get_serial_sequence(quote_ident(name), attname)::regclass
            ),
            false
        )
    ) AS serial (is_serial)
    UNION ALL
    SELECT name, CASE WHEN indisprimary THEN 'primary key' ELSE 'unique key ' || columns END,
           CASE WHEN indisprimary THEN columns ELSE 'present' END
    FROM relation JOIN key ON indrelid = oid
    WHERE is_key
    UNION ALL
    SELECT name, 'foreign key ' || substring(definition FROM '^FOREIGN KEY (\(.*?\))'),
           string_agg(substring(definition FROM '^FOREIGN KEY \(.*?\) (.*)$'), '; ')
    FROM relation
    JOIN pg_constraint ON conrelid = relation.oid AND contype = 'f'
    CROSS JOIN pg_get_constraintdef(pg_constraint.oid, true) AS definition
    GROUP BY 1, 2
    UNION ALL
    SELECT name, 'index ' || relname,
           -- What is unique is a key, and stands above.
           substring(pg_get_indexdef(indexrelid, 0, true) FROM ' USING (.*)$')
           || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END
    FROM relation
    JOIN key ON indrelid = relation.oid
    JOIN pg_class ON pg_class.oid = indexrelid
    UNION ALL
    SELECT name, 'trigger ' || tgname,
           regexp_replace(
               substring(pg_get_triggerdef(pg_trigger.oid, true) FROM length(format('CREATE TRIGGER %I ', tgname)) + 1),
               ' ON (\S+\.)?' || quote_ident(name) || ' ',
               ' '
           )
           || CASE tgenabled WHEN 'O' THEN '' WHEN 'A' THEN '' ELSE ' DISABLED' END
    FROM relation JOIN pg_trigger ON tgrelid = relation.oid AND NOT tgisinternal";

/// Compares the live schema with the one that this build was written for, and names each difference in a line. An
/// object that is not known here is no difference.
pub(super) async fn differences(client: &Client) -> Result<Vec<String>, Cause> {
    // The descriptions below are written as they are without it.
    client
        .batch_execute("SET quote_all_identifiers = off")
        .await
        .map_err(failed("setting how names are written"))?;
    let names = TABLES.map(|(table, _)| table);
    let rows = client
        .query_typed(LIVE, &[(&names.as_slice(), Type::TEXT_ARRAY)])
        .await
        .map_err(failed("reading the catalog"))?;
    let live: Vec<(String, String, String)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let found = |table: &str, object: &str| {
        live.iter()
            .find(|(of, name, _)| of == table && name == object)
            .map(|(.., description)| description.as_str())
    };

    let mut differences = Vec::new();
    for (object, expected) in TYPES_AND_FUNCTIONS {
        differences.extend(difference(object, found("", object), expected));
    }
    for (table, objects) in TABLES {
        if found(table, "table").is_none() {
            differences.push(format!("table {table}: missing"));
            continue;
        }
        differences.extend(objects.iter().filter_map(|(object, expected)| {
            difference(
                &format!("table {table}, {object}"),
                found(table, object),
                expected,
            )
        }));
    }
    Ok(differences)
}

fn difference(name: &str, found: Option<&str>, expected: &str) -> Option<String> {
    match found {
        Some(found) if is_as(found, expected) => None,
        Some(found) => Some(format!("{name}: found {found}; expected {expected}")),
        None if expected == PRESENT => Some(format!("{name}: missing")),
        None => Some(format!("{name}: missing; expected {expected}")),
    }
}

/// Whether a description is the expected one, or a text column with more room where that will do.
fn is_as(found: &str, expected: &str) -> bool {
    let Some(expected) = expected.strip_suffix(", or wider") else {
        return found == expected;
    };
    match (text_column(found), text_column(expected)) {
        (Some((room, rest)), Some((least_room, expected_rest))) => {
            room >= least_room && rest == expected_rest
        }
        _ => false,
    }
}

/// How many characters a text column has room for, and the rest of its description.
fn text_column(description: &str) -> Option<(u32, &str)> {
    if let Some(rest) = description.strip_prefix("character varying(") {
        let (limit, rest) = rest.split_once(')')?;
        return Some((limit.parse().ok()?, rest));
    }
    ["character varying", "text"]
        .into_iter()
        .find_map(|kind| Some((u32::MAX, description.strip_prefix(kind)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_may_be_wider_is_as_expected_from_its_least_width() {
        let expected = "character varying(50) NOT NULL, or wider";
        for (found, is_expected) in [
            ("character varying(50) NOT NULL", true),
            ("character varying(500) NOT NULL", true),
            ("character varying NOT NULL", true),
            ("text NOT NULL", true),
            ("character varying(49) NOT NULL", false),
            ("character varying(50)", false),
            ("text", false),
            ("integer NOT NULL", false),
        ] {
            assert_eq!(is_as(found, expected), is_expected, "{found}");
        }
        assert!(!is_as("character varying(51)", "character varying(50)"));
    }
}
