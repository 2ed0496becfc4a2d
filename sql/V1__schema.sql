-- The schema of the todo backend. Times are UTC, without a zone.
--
-- On a database without tables, this migration creates them. On a database of the legacy service, it converts the tables
-- and keeps every row: the first part creates what is missing, the second changes what differs, the third adds what the
-- legacy service never had. Other migrations may do less: see sql/README.md.

SET LOCAL client_min_messages = warning;

-- Locks all tables before the first change, in one order, so that no other session sees a half-converted schema.
DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['public."user"', 'public.task', 'public.session', 'public.user_sessions'] LOOP
        IF to_regclass(relation) IS NOT NULL THEN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
        END IF;
    END LOOP;
END
$$;

-- ----- What is missing -----

DO $$
BEGIN
    -- A later release of the legacy service used this name for the table of sessions.
    IF to_regclass('public.session') IS NULL AND to_regclass('public.user_sessions') IS NOT NULL THEN
        ALTER TABLE public.user_sessions RENAME TO session;
    END IF;

    IF (SELECT array_agg(enumlabel ORDER BY enumsortorder) <> '{High,Medium,Low}'
        FROM pg_enum
        WHERE enumtypid = to_regtype('public.priority_enum')) THEN
        ALTER TYPE public.priority_enum RENAME TO former_priority_enum;
    END IF;
    IF to_regtype('public.priority_enum') IS NULL THEN
        CREATE TYPE public.priority_enum AS ENUM ('High', 'Medium', 'Low');
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS public."user" (
    id              serial PRIMARY KEY,
    username        varchar(30) NOT NULL UNIQUE,
    email           varchar(255) NOT NULL UNIQUE,
    hashed_password varchar(255) NOT NULL,
    created_at      timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    updated_at      timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')
);

-- lower(email), set by a trigger: addresses that differ by case alone are one address. NULL in an adopted account whose
-- address an older account already has in another case.
ALTER TABLE public."user" ADD COLUMN IF NOT EXISTS email_key varchar(255) UNIQUE;

CREATE TABLE IF NOT EXISTS public.task (
    id                serial PRIMARY KEY,
    user_id           integer NOT NULL,
    title             varchar(200) NOT NULL,
    description       text,
    due_date          varchar(50),
    priority          public.priority_enum NOT NULL,
    tags              text,
    recursion_pattern varchar(100),
    completed         boolean NOT NULL,
    created_at        timestamp NOT NULL,
    updated_at        timestamp NOT NULL
);

CREATE TABLE IF NOT EXISTS public.session (
    id         serial PRIMARY KEY,
    user_id    integer NOT NULL,
    token_jti  varchar(255) NOT NULL UNIQUE,
    token      varchar(255) NOT NULL,
    expires_at timestamp NOT NULL,
    revoked    boolean NOT NULL,
    created_at timestamp NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_user_email ON public."user" (email);
CREATE INDEX IF NOT EXISTS idx_task_user_id ON public.task (user_id);
CREATE INDEX IF NOT EXISTS idx_task_completed ON public.task (completed);
CREATE INDEX IF NOT EXISTS idx_session_token_jti ON public.session (token_jti);
CREATE INDEX IF NOT EXISTS idx_session_user_id ON public.session (user_id);

-- ----- What differs -----

-- The updates below are not changes by a user. A script of the legacy service made these triggers with this function, whose
-- name other programs use, too: it goes if it was theirs alone.
DO $$
DECLARE
    legacy_function constant oid := (
        SELECT DISTINCT tgfoid
        FROM pg_trigger
        JOIN pg_proc ON pg_proc.oid = tgfoid
        WHERE tgrelid IN ('public."user"'::regclass, 'public.task'::regclass)
          AND tgname IN ('update_user_updated_at', 'update_task_updated_at')
          AND pronamespace = 'public'::regnamespace AND proname = 'update_updated_at_column'
          AND pg_has_role(proowner, 'USAGE')
    );
BEGIN
    DROP TRIGGER IF EXISTS update_user_updated_at ON public."user";
    DROP TRIGGER IF EXISTS update_task_updated_at ON public.task;
    IF legacy_function IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_depend WHERE refclassid = 'pg_proc'::regclass AND refobjid = legacy_function
    ) THEN
        DROP FUNCTION public.update_updated_at_column();
    END IF;
END
$$;

ALTER TABLE public."user"
    ALTER hashed_password TYPE varchar(255),
    ALTER created_at SET DEFAULT (now() AT TIME ZONE 'utc'),
    ALTER updated_at SET DEFAULT (now() AT TIME ZONE 'utc');

DO $$
DECLARE
    -- The type of the legacy priorities. It goes with them, whatever its name.
    legacy_type constant regtype := (
        SELECT atttypid
        FROM pg_attribute
        JOIN pg_type ON pg_type.oid = atttypid
        WHERE attrelid = 'public.task'::regclass AND attname = 'priority'
          AND typtype = 'e' AND typnamespace = 'public'::regnamespace
          AND atttypid <> 'public.priority_enum'::regtype
    );
BEGIN
    -- The column due_date keeps its type: in a legacy database it has no limit and may hold more than 50 characters.
    ALTER TABLE public.task
        ALTER description TYPE text,
        ALTER tags TYPE text,
        -- The legacy labels are upper case. A default of one type is not a default of another.
        ALTER priority DROP DEFAULT,
        ALTER priority TYPE public.priority_enum USING (
            CASE priority::text WHEN 'HIGH' THEN 'High' WHEN 'MEDIUM' THEN 'Medium' WHEN 'LOW' THEN 'Low'
                                ELSE priority::text END
        )::public.priority_enum,
        ALTER priority SET DEFAULT 'Medium',
        ALTER completed SET DEFAULT false,
        ALTER created_at SET DEFAULT (now() AT TIME ZONE 'utc'),
        ALTER updated_at SET DEFAULT (now() AT TIME ZONE 'utc');
    IF legacy_type IS NOT NULL THEN
        EXECUTE format('DROP TYPE %s', legacy_type);
    END IF;
END
$$;

ALTER TABLE public.session
    ALTER revoked SET DEFAULT false,
    ALTER created_at SET DEFAULT (now() AT TIME ZONE 'utc');

DO $$
DECLARE
    key record;
    added record;
    columns text;
BEGIN
    -- Where both tables exist, the rows of one are moved into the other, with all columns. Of two rows with one jti, one
    -- remains, revoked if either was.
    IF to_regclass('public.user_sessions') IS NOT NULL THEN
        -- A token is unique within each table, not across both, and no statement looks it up.
        FOR key IN
            SELECT conname AS name, indexrelid::regclass AS index
            FROM pg_index
            JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] AND attname = 'token'
            LEFT JOIN pg_constraint ON conindid = indexrelid AND contype = 'u'
            WHERE indrelid = 'public.session'::regclass AND indisunique AND indnatts = 1
        LOOP
            IF key.name IS NULL THEN
                EXECUTE format('DROP INDEX %s', key.index);
            ELSE
                EXECUTE format('ALTER TABLE public.session DROP CONSTRAINT %I', key.name);
            END IF;
        END LOOP;

        FOR added IN
            SELECT attname AS name, format_type(atttypid, atttypmod) AS type
            FROM pg_attribute
            WHERE attrelid = 'public.user_sessions'::regclass AND attnum > 0 AND NOT attisdropped
        LOOP
            EXECUTE format('ALTER TABLE public.session ADD COLUMN IF NOT EXISTS %I %s', added.name, added.type);
        END LOOP;
        IF EXISTS (
            SELECT FROM public.session
            HAVING coalesce(max(length(token)), 0) < (SELECT max(length(token)) FROM public.user_sessions)
        ) THEN
            ALTER TABLE public.session ALTER token TYPE varchar(500);
        END IF;

        SELECT string_agg(quote_ident(attname), ', ')
        INTO columns
        FROM pg_attribute
        WHERE attrelid = 'public.user_sessions'::regclass AND attnum > 0 AND NOT attisdropped
          AND attname <> 'id' AND attgenerated = '';
        EXECUTE format(
            'INSERT INTO public.session AS kept (%1$s)
             SELECT %1$s FROM public.user_sessions ORDER BY id
             ON CONFLICT (token_jti) DO UPDATE
             SET revoked = kept.revoked OR excluded.revoked,
                 last_used_at = greatest(kept.last_used_at, excluded.last_used_at),
                 revoked_at = least(kept.revoked_at, excluded.revoked_at)',
            columns
        );
        DROP TABLE public.user_sessions;
    END IF;

    -- A column of the legacy service that this one does not fill.
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.session'::regclass AND attname = 'last_used_at') THEN
        ALTER TABLE public.session ALTER last_used_at DROP NOT NULL;
    END IF;
END
$$;

-- Tasks and sessions are deleted with their user. PostgreSQL cannot change a key's delete rule, only replace the key.
DO $$
DECLARE
    foreign_key record;
    relation regclass;
BEGIN
    FOR foreign_key IN
        SELECT conrelid::regclass AS relation, conname AS name
        FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'public."user"'::regclass AND confdeltype <> 'c'
          AND conrelid IN ('public.task'::regclass, 'public.session'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', foreign_key.relation, foreign_key.name);
    END LOOP;
    FOREACH relation IN ARRAY ARRAY['public.task'::regclass, 'public.session'::regclass] LOOP
        IF NOT EXISTS (
            SELECT FROM pg_constraint
            WHERE contype = 'f' AND conrelid = relation AND confrelid = 'public."user"'::regclass
        ) THEN
            EXECUTE format(
                'ALTER TABLE %s ADD FOREIGN KEY (user_id) REFERENCES public."user" (id) ON DELETE CASCADE',
                relation
            );
        END IF;
    END LOOP;
END
$$;

-- ----- What the legacy service never had -----

-- Of accounts whose addresses differ by case alone, the oldest has the key; the others are found by their exact spelling.
-- In some languages lower case takes more characters: an address that no longer fits has no key.
UPDATE public."user"
SET email_key = lower(email)
WHERE email_key IS NULL
  AND length(lower(email)) <= 255
  AND id IN (SELECT min(id) FROM public."user" GROUP BY lower(email));

-- The few accounts without a key: a login checks whether an address has such a twin.
CREATE INDEX IF NOT EXISTS idx_user_email_twin ON public."user" (lower(email)) WHERE email_key IS NULL;

DO $$
DECLARE
    accounts text;
BEGIN
    FOR accounts IN
        SELECT string_agg(id::text, ', ' ORDER BY id)
        FROM public."user"
        GROUP BY lower(email)
        HAVING count(*) > 1
        ORDER BY min(id)
    LOOP
        RAISE WARNING 'the email addresses of the users % differ by case alone; each logs in with its exact spelling', accounts;
    END LOOP;

    -- For the way back: a user's first login replaces the legacy hash, which is the only kind the legacy service accepts.
    IF EXISTS (SELECT FROM public."user" WHERE hashed_password LIKE '$2_$%') THEN
        CREATE TABLE IF NOT EXISTS public.former_password (
            user_id         integer PRIMARY KEY REFERENCES public."user" (id) ON DELETE CASCADE,
            hashed_password varchar(255) NOT NULL
        );
        INSERT INTO public.former_password
        SELECT id, hashed_password FROM public."user" WHERE hashed_password LIKE '$2_$%'
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;

-- The time never goes backwards, whenever the transaction began. Nothing is later than the last time that a timestamp can
-- hold, and `infinity` stays.
CREATE FUNCTION public.todo_set_updated_at() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := greatest(
        OLD.updated_at,
        least(OLD.updated_at, timestamp '294276-12-31 23:59:59.999998') + interval '1 microsecond',
        clock_timestamp() AT TIME ZONE 'utc'
    );
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER update_user_updated_at BEFORE UPDATE ON public."user"
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION public.todo_set_updated_at();

CREATE OR REPLACE TRIGGER update_task_updated_at BEFORE UPDATE ON public.task
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION public.todo_set_updated_at();

CREATE FUNCTION public.set_user_email_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.email_key := CASE WHEN length(lower(NEW.email)) <= 255 THEN lower(NEW.email) END;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER set_user_email_key BEFORE INSERT OR UPDATE OF email ON public."user"
    FOR EACH ROW EXECUTE FUNCTION public.set_user_email_key();

-- When an account is deleted, the next account of the same address gets its key. Otherwise a new account could take it.
CREATE FUNCTION public.pass_on_user_email_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public."user"
    SET email_key = OLD.email_key
    WHERE id = (SELECT min(id) FROM public."user" WHERE email_key IS NULL AND lower(email) = OLD.email_key);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER pass_on_user_email_key AFTER DELETE ON public."user"
    FOR EACH ROW WHEN (OLD.email_key IS NOT NULL)
    EXECUTE FUNCTION public.pass_on_user_email_key();
