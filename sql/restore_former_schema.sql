-- The way back: converts the tables to those of the legacy service, in one transaction, and keeps every row that was added
-- since. This is not a migration; run it by hand: ./dev psql -f sql/restore_former_schema.sql
--
-- Users who existed before the adoption have their old password again, even if they changed it since. Users who registered
-- since keep their accounts and data, but cannot log in to the legacy service, which does not know their kind of hash. To
-- move forward again, run the migrations.
--
-- Personal tokens end: see below.
--
-- Columns that a migration has added stay where they are, with their data: they are NULL or have a default, so that the
-- inserts of the legacy service succeed.

BEGIN;

LOCK TABLE public."user", public.task, public.session IN ACCESS EXCLUSIVE MODE;

DROP VIEW public.active_session;

DROP TRIGGER update_user_updated_at ON public."user";
DROP TRIGGER update_task_updated_at ON public.task;
DROP TRIGGER set_user_email_key ON public."user";
DROP TRIGGER pass_on_user_email_key ON public."user";
DROP FUNCTION public.set_user_email_key();
DROP FUNCTION public.pass_on_user_email_key();
DROP FUNCTION public.todo_set_updated_at();

DROP FUNCTION
    public.todo_list_tasks,
    public.todo_page_by_id,
    public.todo_page_by_key,
    public.todo_task_sort_key,
    public.todo_time_key,
    public.todo_task_matches,
    public.todo_date,
    public.todo_days,
    public.todo_usual_years,
    public.todo_tags,
    public.todo_fold_case,
    public.todo_composed;
DROP TYPE public.todo_task_query;
DROP COLLATION public.todo_letters;

DROP FUNCTION
    public.todo_get_task,
    public.todo_change_task,
    public.todo_create_task,
    public.todo_lock_task_clock;
DROP TRIGGER create_task_clock ON public."user";
DROP TRIGGER set_task_version ON public.task;
DROP TRIGGER advance_task_clock_after_insert ON public.task;
DROP TRIGGER advance_task_clock_after_update ON public.task;
DROP TRIGGER advance_task_clock_after_delete ON public.task;
DROP TRIGGER advance_task_clock_after_truncate ON public.task;
DROP FUNCTION
    public.todo_create_task_clock,
    public.todo_set_task_version,
    public.todo_advance_task_clock,
    public.todo_repair_task_clock,
    public.todo_unused_task_version,
    public.task_version_tag,
    public.task_bytes;
DROP TABLE public.task_clock, public.task_epoch;

DROP FUNCTION
    public.todo_open_login,
    public.todo_refresh_login,
    public.todo_end_other_sessions,
    public.todo_create_token;

DROP FUNCTION public.consume_registration_attempt(bytea, integer);
DROP FUNCTION public.consume_login_attempt(integer, bytea, bytea, integer, integer, integer);
DROP FUNCTION public.refund_login_attempt(integer, bytea, boolean);
DROP FUNCTION public.delete_account_attempts(integer, bytea);
DROP FUNCTION public.account_attempt_key(integer);
DROP FUNCTION public.consume_attempt(bytea[], integer[], integer[], interval);
DROP FUNCTION public.attempt_window_end(public.attempt, integer, interval);
DROP TABLE public.attempt;

DROP INDEX
    public.idx_user_email,
    public.idx_task_user_id,
    public.idx_task_completed,
    public.idx_session_token_jti,
    public.idx_session_user_id;

ALTER TABLE public."user"
    DROP COLUMN email_key,
    ALTER hashed_password TYPE varchar,
    ALTER created_at DROP DEFAULT,
    ALTER updated_at DROP DEFAULT;

DO $$
BEGIN
    IF to_regclass('public.former_password') IS NOT NULL THEN
        UPDATE public."user"
        SET hashed_password = former_password.hashed_password
        FROM public.former_password
        WHERE former_password.user_id = "user".id;
        DROP TABLE public.former_password;
    END IF;
END
$$;

CREATE TYPE public.priorityenum AS ENUM ('HIGH', 'MEDIUM', 'LOW');

ALTER TABLE public.task
    ALTER description TYPE varchar,
    ALTER due_date TYPE varchar,
    ALTER tags TYPE varchar,
    ALTER priority DROP DEFAULT,
    ALTER priority TYPE public.priorityenum USING (
        CASE priority WHEN 'High' THEN 'HIGH' WHEN 'Medium' THEN 'MEDIUM' ELSE 'LOW' END
    )::public.priorityenum,
    ALTER completed DROP DEFAULT,
    ALTER created_at DROP DEFAULT,
    ALTER updated_at DROP DEFAULT;

DROP TYPE public.priority_enum;

ALTER TABLE public.session
    ADD COLUMN IF NOT EXISTS last_used_at timestamp,
    ADD COLUMN IF NOT EXISTS revoked_at timestamp,
    ALTER token TYPE varchar(500),
    ALTER revoked DROP DEFAULT,
    ALTER created_at DROP DEFAULT;

UPDATE public.session SET last_used_at = created_at WHERE last_used_at IS NULL;
ALTER TABLE public.session ALTER last_used_at SET NOT NULL;

-- Personal tokens end here for good. The legacy service does not know them, so nobody could end them there, and the
-- password that a user had given to create one may no longer be the user's.
UPDATE public.session
SET revoked = true, revoked_at = coalesce(revoked_at, now() AT TIME ZONE 'utc')
WHERE kind = 'token';

DO $$
DECLARE
    foreign_key record;
BEGIN
    FOR foreign_key IN
        SELECT conrelid::regclass AS relation, conname AS name
        FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'public."user"'::regclass
          AND conrelid IN ('public.task'::regclass, 'public.session'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', foreign_key.relation, foreign_key.name);
        EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (user_id) REFERENCES public."user" (id)', foreign_key.relation);
    END LOOP;
END
$$;

-- A later release of the legacy service used this name for the same table. Each release finds its table.
CREATE TABLE public.user_sessions (
    id           serial PRIMARY KEY,
    user_id      integer NOT NULL REFERENCES public."user" (id),
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
        'ALTER TABLE public.user_sessions OWNER TO %I',
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.session'::regclass)
    );
END
$$;

INSERT INTO public.user_sessions (user_id, token, token_jti, expires_at, created_at, last_used_at, revoked, revoked_at)
SELECT user_id, token, token_jti, expires_at, created_at, last_used_at, revoked, revoked_at
FROM public.session
ORDER BY id;

-- Not where there were two tables before, with the same token in both.
DO $$
DECLARE
    relation regclass;
BEGIN
    IF (SELECT count(DISTINCT token) = count(*) FROM public.session) THEN
        FOREACH relation IN ARRAY ARRAY['public.session'::regclass, 'public.user_sessions'::regclass] LOOP
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

DROP TABLE public.refinery_schema_history;

COMMIT;
