-- The schema of the todo backend. Times are UTC, without a zone.
--
-- On a database without tables this makes them. On one of the service that this one replaces, it makes its tables into
-- these, and loses no row: the first part makes what is missing, the second mends what differs, the third adds what
-- the former service never had. See sql/README.md for what the others may do, which is less.

SET LOCAL client_min_messages = warning;

-- All that will change is locked before anything does, in one order, so that no one meets it half changed.
DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['"user"', 'task', 'session', 'user_sessions'] LOOP
        IF to_regclass(relation) IS NOT NULL THEN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
        END IF;
    END LOOP;
END
$$;

-- ----- What is missing -----

DO $$
BEGIN
    -- A later release of the former service called the table of sessions so.
    IF to_regclass('session') IS NULL AND to_regclass('user_sessions') IS NOT NULL THEN
        ALTER TABLE user_sessions RENAME TO session;
    END IF;

    IF (SELECT array_agg(enumlabel ORDER BY enumsortorder) <> '{High,Medium,Low}'
        FROM pg_enum
        WHERE enumtypid = to_regtype('priority_enum')) THEN
        ALTER TYPE priority_enum RENAME TO former_priority_enum;
    END IF;
    IF to_regtype('priority_enum') IS NULL THEN
        CREATE TYPE priority_enum AS ENUM ('High', 'Medium', 'Low');
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS "user" (
    id              serial PRIMARY KEY,
    username        varchar(30) NOT NULL UNIQUE,
    email           varchar(255) NOT NULL UNIQUE,
    hashed_password varchar(255) NOT NULL,
    created_at      timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    updated_at      timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')
);

-- lower(email), set by a trigger: what makes addresses that differ by case alone one address. NULL in an adopted
-- account whose address another, older one already has in another case.
ALTER TABLE "user" ADD COLUMN IF NOT EXISTS email_key varchar(255) UNIQUE;

CREATE TABLE IF NOT EXISTS task (
    id                serial PRIMARY KEY,
    user_id           integer NOT NULL,
    title             varchar(200) NOT NULL,
    description       text,
    due_date          varchar(50),
    priority          priority_enum NOT NULL,
    tags              text,
    recursion_pattern varchar(100),
    completed         boolean NOT NULL,
    created_at        timestamp NOT NULL,
    updated_at        timestamp NOT NULL
);

CREATE TABLE IF NOT EXISTS session (
    id         serial PRIMARY KEY,
    user_id    integer NOT NULL,
    token_jti  varchar(255) NOT NULL UNIQUE,
    token      varchar(255) NOT NULL,
    expires_at timestamp NOT NULL,
    revoked    boolean NOT NULL,
    created_at timestamp NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_user_email ON "user" (email);
CREATE INDEX IF NOT EXISTS idx_task_user_id ON task (user_id);
CREATE INDEX IF NOT EXISTS idx_task_completed ON task (completed);
CREATE INDEX IF NOT EXISTS idx_session_token_jti ON session (token_jti);
CREATE INDEX IF NOT EXISTS idx_session_user_id ON session (user_id);

-- ----- What differs -----

-- Or they would take what follows for a change by the user.
DROP TRIGGER IF EXISTS update_user_updated_at ON "user";
DROP TRIGGER IF EXISTS update_task_updated_at ON task;

ALTER TABLE "user"
    ALTER hashed_password TYPE varchar(255),
    ALTER created_at SET DEFAULT (now() AT TIME ZONE 'utc'),
    ALTER updated_at SET DEFAULT (now() AT TIME ZONE 'utc');

-- The column due_date stays as it is: there it has no limit, and may hold more than 50 characters.
ALTER TABLE task
    ALTER description TYPE text,
    ALTER tags TYPE text,
    -- The former labels were upper case, and no default of one type is one of another.
    ALTER priority DROP DEFAULT,
    ALTER priority TYPE priority_enum USING (
        CASE priority::text WHEN 'HIGH' THEN 'High' WHEN 'MEDIUM' THEN 'Medium' WHEN 'LOW' THEN 'Low'
                            ELSE priority::text END
    )::priority_enum,
    ALTER priority SET DEFAULT 'Medium',
    ALTER completed SET DEFAULT false,
    ALTER created_at SET DEFAULT (now() AT TIME ZONE 'utc'),
    ALTER updated_at SET DEFAULT (now() AT TIME ZONE 'utc');

DROP TYPE IF EXISTS former_priority_enum;
DROP TYPE IF EXISTS priorityenum;

ALTER TABLE session
    ALTER revoked SET DEFAULT false,
    ALTER created_at SET DEFAULT (now() AT TIME ZONE 'utc');

DO $$
DECLARE
    key record;
    added record;
    columns text;
BEGIN
    -- Where both tables are, one takes in the other with all its columns. Of two rows with one jti, one remains,
    -- revoked if either was.
    IF to_regclass('user_sessions') IS NOT NULL THEN
        -- In each table a token is unique; in both together it need not be, and nothing here looks for it.
        FOR key IN
            SELECT conname AS name, indexrelid::regclass AS index
            FROM pg_index
            JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] AND attname = 'token'
            LEFT JOIN pg_constraint ON conindid = indexrelid AND contype = 'u'
            WHERE indrelid = 'session'::regclass AND indisunique AND indnatts = 1
        LOOP
            IF key.name IS NULL THEN
                EXECUTE format('DROP INDEX %s', key.index);
            ELSE
                EXECUTE format('ALTER TABLE session DROP CONSTRAINT %I', key.name);
            END IF;
        END LOOP;

        FOR added IN
            SELECT attname AS name, format_type(atttypid, atttypmod) AS type
            FROM pg_attribute
            WHERE attrelid = 'user_sessions'::regclass AND attnum > 0 AND NOT attisdropped
        LOOP
            EXECUTE format('ALTER TABLE session ADD COLUMN IF NOT EXISTS %I %s', added.name, added.type);
        END LOOP;
        IF EXISTS (
            SELECT FROM session
            HAVING coalesce(max(length(token)), 0) < (SELECT max(length(token)) FROM user_sessions)
        ) THEN
            ALTER TABLE session ALTER token TYPE varchar(500);
        END IF;

        SELECT string_agg(quote_ident(attname), ', ')
        INTO columns
        FROM pg_attribute
        WHERE attrelid = 'user_sessions'::regclass AND attnum > 0 AND NOT attisdropped
          AND attname <> 'id' AND attgenerated = '';
        EXECUTE format(
            'INSERT INTO session AS kept (%1$s)
             SELECT %1$s FROM user_sessions ORDER BY id
             ON CONFLICT (token_jti) DO UPDATE
             SET revoked = kept.revoked OR excluded.revoked,
                 last_used_at = greatest(kept.last_used_at, excluded.last_used_at),
                 revoked_at = least(kept.revoked_at, excluded.revoked_at)',
            columns
        );
        DROP TABLE user_sessions;
    END IF;

    -- A column of the former service's that this one does not fill.
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'session'::regclass AND attname = 'last_used_at') THEN
        ALTER TABLE session ALTER last_used_at DROP NOT NULL;
    END IF;
END
$$;

-- A task and a session go with their user. PostgreSQL cannot change a key's rule, only the key.
DO $$
DECLARE
    foreign_key record;
    relation regclass;
BEGIN
    FOR foreign_key IN
        SELECT conrelid::regclass AS relation, conname AS name
        FROM pg_constraint
        WHERE contype = 'f' AND confrelid = '"user"'::regclass AND confdeltype <> 'c'
          AND conrelid IN ('task'::regclass, 'session'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', foreign_key.relation, foreign_key.name);
    END LOOP;
    FOREACH relation IN ARRAY ARRAY['task'::regclass, 'session'::regclass] LOOP
        IF NOT EXISTS (
            SELECT FROM pg_constraint
            WHERE contype = 'f' AND conrelid = relation AND confrelid = '"user"'::regclass
        ) THEN
            EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (user_id) REFERENCES "user" (id) ON DELETE CASCADE', relation);
        END IF;
    END LOOP;
END
$$;

-- ----- What the former service never had -----

-- Of accounts whose addresses differ by case alone, the oldest has the key, and the others are found by their exact
-- spelling. In some languages lower case takes more characters; an address that then has no room has no key.
UPDATE "user"
SET email_key = lower(email)
WHERE email_key IS NULL AND length(lower(email)) <= 255 AND id IN (SELECT min(id) FROM "user" GROUP BY lower(email));

-- The few accounts without a key, so that a login can see whether an address has such a twin.
CREATE INDEX IF NOT EXISTS idx_user_email_twin ON "user" (lower(email)) WHERE email_key IS NULL;

DO $$
DECLARE
    accounts text;
BEGIN
    FOR accounts IN
        SELECT string_agg(id::text, ', ' ORDER BY id)
        FROM "user"
        GROUP BY lower(email)
        HAVING count(*) > 1
        ORDER BY min(id)
    LOOP
        RAISE WARNING 'the email addresses of the users % differ by case alone; each logs in with its exact spelling', accounts;
    END LOOP;

    -- For the way back: a user's first login replaces the former hash, and the former service knows no other.
    IF EXISTS (SELECT FROM "user" WHERE hashed_password LIKE '$2_$%') THEN
        CREATE TABLE IF NOT EXISTS former_password (
            user_id         integer PRIMARY KEY REFERENCES "user" (id) ON DELETE CASCADE,
            hashed_password varchar(255) NOT NULL
        );
        INSERT INTO former_password
        SELECT id, hashed_password FROM "user" WHERE hashed_password LIKE '$2_$%'
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now() AT TIME ZONE 'utc';
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER update_user_updated_at BEFORE UPDATE ON "user"
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION update_updated_at_column();

CREATE OR REPLACE TRIGGER update_task_updated_at BEFORE UPDATE ON task
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION update_updated_at_column();

CREATE OR REPLACE FUNCTION set_user_email_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.email_key := CASE WHEN length(lower(NEW.email)) <= 255 THEN lower(NEW.email) END;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER set_user_email_key BEFORE INSERT OR UPDATE OF email ON "user"
    FOR EACH ROW EXECUTE FUNCTION set_user_email_key();

-- With its account goes a key, and the next of the same address gets it, or a new account could take it.
CREATE OR REPLACE FUNCTION pass_on_user_email_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE "user"
    SET email_key = OLD.email_key
    WHERE id = (SELECT min(id) FROM "user" WHERE email_key IS NULL AND lower(email) = OLD.email_key);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER pass_on_user_email_key AFTER DELETE ON "user"
    FOR EACH ROW WHEN (OLD.email_key IS NOT NULL)
    EXECUTE FUNCTION pass_on_user_email_key();
