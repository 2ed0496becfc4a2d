-- The way back: makes the tables of the former service out of these, with every row that has come since, in one
-- transaction. It is no migration; run it by hand: ./dev psql -f sql/restore_former_schema.sql
--
-- A user from before the adoption has the former password again, also where it was changed since. One who has come
-- since keeps the account and all in it, but cannot log in at the former service, which does not know their hash. To
-- move forward again, run the migrations.

BEGIN;

LOCK TABLE "user", task, session IN ACCESS EXCLUSIVE MODE;

DROP TRIGGER update_user_updated_at ON "user";
DROP TRIGGER update_task_updated_at ON task;
DROP TRIGGER set_user_email_key ON "user";
DROP TRIGGER pass_on_user_email_key ON "user";
DROP FUNCTION set_user_email_key();
DROP FUNCTION pass_on_user_email_key();

DO $$
BEGIN
    DROP FUNCTION update_updated_at_column();
EXCEPTION WHEN dependent_objects_still_exist THEN
    -- A table of someone else's uses it.
    NULL;
END
$$;

DROP INDEX idx_user_email, idx_task_user_id, idx_task_completed, idx_session_token_jti, idx_session_user_id;

ALTER TABLE "user"
    DROP COLUMN email_key,
    ALTER hashed_password TYPE varchar,
    ALTER created_at DROP DEFAULT,
    ALTER updated_at DROP DEFAULT;

DO $$
BEGIN
    IF to_regclass('former_password') IS NOT NULL THEN
        UPDATE "user"
        SET hashed_password = former_password.hashed_password
        FROM former_password
        WHERE former_password.user_id = "user".id;
        DROP TABLE former_password;
    END IF;
END
$$;

CREATE TYPE priorityenum AS ENUM ('HIGH', 'MEDIUM', 'LOW');

ALTER TABLE task
    ALTER description TYPE varchar,
    ALTER due_date TYPE varchar,
    ALTER tags TYPE varchar,
    ALTER priority DROP DEFAULT,
    ALTER priority TYPE priorityenum USING (
        CASE priority WHEN 'High' THEN 'HIGH' WHEN 'Medium' THEN 'MEDIUM' ELSE 'LOW' END
    )::priorityenum,
    ALTER completed DROP DEFAULT,
    ALTER created_at DROP DEFAULT,
    ALTER updated_at DROP DEFAULT;

DROP TYPE priority_enum;

ALTER TABLE session
    ADD COLUMN IF NOT EXISTS last_used_at timestamp,
    ADD COLUMN IF NOT EXISTS revoked_at timestamp,
    ALTER token TYPE varchar(500),
    ALTER revoked DROP DEFAULT,
    ALTER created_at DROP DEFAULT;

UPDATE session SET last_used_at = created_at WHERE last_used_at IS NULL;
ALTER TABLE session ALTER last_used_at SET NOT NULL;

DO $$
DECLARE
    foreign_key record;
BEGIN
    FOR foreign_key IN
        SELECT conrelid::regclass AS relation, conname AS name
        FROM pg_constraint
        WHERE contype = 'f' AND confrelid = '"user"'::regclass
          AND conrelid IN ('task'::regclass, 'session'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', foreign_key.relation, foreign_key.name);
        EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (user_id) REFERENCES "user" (id)', foreign_key.relation);
    END LOOP;
END
$$;

-- The name that a later release of the former service gave the same table. Either finds the sessions it looks for.
CREATE TABLE user_sessions (
    id           serial PRIMARY KEY,
    user_id      integer NOT NULL REFERENCES "user" (id),
    token        varchar(500) NOT NULL,
    token_jti    varchar(255) NOT NULL UNIQUE,
    expires_at   timestamp NOT NULL,
    created_at   timestamp NOT NULL,
    last_used_at timestamp NOT NULL,
    revoked      boolean NOT NULL,
    revoked_at   timestamp
);

DO $$
BEGIN
    EXECUTE format(
        'ALTER TABLE user_sessions OWNER TO %I',
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'session'::regclass)
    );
END
$$;

INSERT INTO user_sessions (user_id, token, token_jti, expires_at, created_at, last_used_at, revoked, revoked_at)
SELECT user_id, token, token_jti, expires_at, created_at, last_used_at, revoked, revoked_at
FROM session
ORDER BY id;

-- Unless there were two tables before, with a token in both.
DO $$
DECLARE
    relation regclass;
BEGIN
    IF (SELECT count(DISTINCT token) = count(*) FROM session) THEN
        FOREACH relation IN ARRAY ARRAY['session'::regclass, 'user_sessions'::regclass] LOOP
            IF NOT EXISTS (
                SELECT FROM pg_index
                JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] AND attname = 'token'
                WHERE indrelid = relation AND indisunique AND indnatts = 1
            ) THEN
                EXECUTE format('ALTER TABLE %s ADD UNIQUE (token)', relation);
            END IF;
        END LOOP;
    END IF;
END
$$;

DROP TABLE attempt;

DROP TABLE refinery_schema_history;

COMMIT;
