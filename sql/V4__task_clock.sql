-- A clock for the tasks of each user, limits for each account, and keys that make a creation idempotent.
--
-- Every real change of a user's tasks advances the user's clock, and the changed rows carry its new value. A transaction
-- that changes tasks holds the clock's row until it ends, so that for each user the order of the versions is the order of
-- the commits. Triggers do all of this: it holds for the functions, for those of the previous release, and for a person
-- in psql.
--
-- The statements of the functions are here, too. A server session keeps the plan of a function, and plans a statement
-- each time: with a plan to make for every request, these statements would cost twice as much.

SET LOCAL client_min_messages = warning;

-- The numbers in `tasks` and `bytes` are those of the user's tasks: how many, and the bytes of their texts.
CREATE TABLE public.task_clock (
    user_id integer PRIMARY KEY REFERENCES public."user" (id) ON DELETE CASCADE,
    version bigint NOT NULL,
    tasks   integer NOT NULL,
    bytes   bigint NOT NULL
);

-- What distinguishes this database from others with the same versions, for example from its own restored backup.
CREATE TABLE public.task_epoch (
    is_only boolean PRIMARY KEY GENERATED ALWAYS AS (true) STORED,
    epoch   text NOT NULL
);
INSERT INTO public.task_epoch (epoch) VALUES (substr(replace(gen_random_uuid()::text, '-', ''), 1, 12));

-- They may exist: the way back to the legacy schema keeps them.
ALTER TABLE public.task
    ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS creation_key text,
    -- SHA-256 of the task that was created.
    ADD COLUMN IF NOT EXISTS creation_hash bytea;

CREATE UNIQUE INDEX IF NOT EXISTS idx_task_creation_key ON public.task (user_id, creation_key);
CREATE INDEX IF NOT EXISTS idx_task_user_id_id ON public.task (user_id, id);

-- The bytes of a task's texts. It takes texts and no row, so that no column depends on it. A migration that adds a text adds
-- it in a function of another name.
CREATE FUNCTION public.task_bytes(title text, description text, due_date text, tags text, recursion_pattern text)
RETURNS integer
LANGUAGE sql IMMUTABLE
RETURN octet_length(title) + coalesce(octet_length(description), 0) + coalesce(octet_length(due_date), 0)
    + coalesce(octet_length(tags), 0) + coalesce(octet_length(recursion_pattern), 0);

-- The text that identifies a version in this database. On Neon, a restored branch has another timeline.
CREATE FUNCTION public.task_version_tag(version bigint) RETURNS text
LANGUAGE sql STABLE
RETURN concat_ws('-', (SELECT epoch FROM public.task_epoch), current_setting('neon.timeline_id', true), version);

-- A version that nothing has had yet: the microseconds since 1970, which no clock reaches by counting.
CREATE FUNCTION public.todo_unused_task_version() RETURNS bigint
LANGUAGE sql VOLATILE
RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- Makes the clock of a user agree with the tasks, and creates it where it is missing. Triggers do not run everywhere: rows
-- can be imported or replicated without them. What the clock was before is unknown then, so the version is an unused one.
CREATE FUNCTION public.todo_repair_task_clock(owner_id integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.task_clock (user_id, version, tasks, bytes)
    SELECT account.id, 0, 0, 0 FROM public."user" AS account WHERE account.id = owner_id
    ON CONFLICT DO NOTHING;
    -- From here on no other transaction changes these tasks.
    PERFORM FROM public.task_clock AS clock WHERE clock.user_id = owner_id FOR UPDATE;
    UPDATE public.task_clock AS clock
    SET version = greatest(clock.version + 1, counted.version, public.todo_unused_task_version()),
        tasks = counted.tasks,
        bytes = counted.bytes
    FROM (
        SELECT max(task.version) AS version, count(*) AS tasks,
               coalesce(sum(public.task_bytes(task.title, task.description, task.due_date, task.tags,
                                              task.recursion_pattern)), 0) AS bytes
        FROM public.task
        WHERE task.user_id = owner_id
    ) AS counted
    WHERE clock.user_id = owner_id;
EXCEPTION
    WHEN foreign_key_violation THEN
        -- The account was deleted meanwhile.
        NULL;
END
$$;

-- Locks the clock, and gives the changed row the next version. All rows of one statement get the same, unless one is ahead
-- of the clock.
CREATE FUNCTION public.todo_set_task_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    previous bigint := 0;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        previous := OLD.version;
        NEW.version := previous;
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
        NEW.updated_at := greatest(
            OLD.updated_at,
            least(OLD.updated_at, timestamp '294276-12-31 23:59:59.999998') + interval '1 microsecond',
            clock_timestamp() AT TIME ZONE 'utc'
        );
    END IF;
    FOR attempt IN 1..2 LOOP
        SELECT greatest(clock.version, previous) + 1
        INTO NEW.version
        FROM public.task_clock AS clock
        WHERE clock.user_id = NEW.user_id
        FOR UPDATE;
        EXIT WHEN FOUND;
        PERFORM public.todo_repair_task_clock(NEW.user_id);
    END LOOP;
    -- Where there is no such user, the foreign key refuses the row.
    NEW.version := coalesce(NEW.version, 0);
    RETURN NEW;
END
$$;

-- Advances the clocks of all users whose tasks a statement has changed.
CREATE FUNCTION public.todo_advance_task_clock() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE public.task_clock AS clock
        SET version = greatest(clock.version, change.version),
            tasks = clock.tasks + change.tasks,
            bytes = clock.bytes + change.bytes
        FROM (
            SELECT user_id, max(version) AS version, count(*) AS tasks,
                   sum(public.task_bytes(title, description, due_date, tags, recursion_pattern)) AS bytes
            FROM added
            GROUP BY user_id
        ) AS change
        WHERE clock.user_id = change.user_id;
    ELSIF TG_OP = 'DELETE' THEN
        UPDATE public.task_clock AS clock
        SET version = clock.version + 1,
            tasks = clock.tasks - change.tasks,
            bytes = clock.bytes - change.bytes
        FROM (
            SELECT user_id, count(*) AS tasks,
                   sum(public.task_bytes(title, description, due_date, tags, recursion_pattern)) AS bytes
            FROM removed
            GROUP BY user_id
        ) AS change
        WHERE clock.user_id = change.user_id;
    ELSIF TG_OP = 'TRUNCATE' THEN
        UPDATE public.task_clock AS clock
        SET version = clock.version + 1, tasks = 0, bytes = 0
        WHERE clock.tasks <> 0;
    ELSE
        UPDATE public.task_clock AS clock
        SET version = greatest(change.version, clock.version + CASE WHEN change.tasks < 0 THEN 1 ELSE 0 END),
            tasks = clock.tasks + change.tasks,
            bytes = clock.bytes + change.bytes
        FROM (
            SELECT user_id, max(version) AS version, sum(tasks) AS tasks, sum(bytes) AS bytes
            FROM (
                SELECT user_id, version, 1 AS tasks,
                       public.task_bytes(title, description, due_date, tags, recursion_pattern) AS bytes
                FROM added
                UNION ALL
                SELECT user_id, 0, -1,
                       -public.task_bytes(title, description, due_date, tags, recursion_pattern)
                FROM removed
            ) AS row
            GROUP BY user_id
        ) AS change
        WHERE clock.user_id = change.user_id
          AND (change.version > clock.version OR change.tasks <> 0);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.todo_create_task_clock() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.task_clock VALUES (NEW.id, 0, 0, 0);
    RETURN NULL;
END
$$;

CREATE TRIGGER create_task_clock AFTER INSERT ON public."user"
    FOR EACH ROW EXECUTE FUNCTION public.todo_create_task_clock();

CREATE OR REPLACE TRIGGER update_task_updated_at BEFORE UPDATE ON public.task
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION public.todo_set_task_version();

CREATE TRIGGER set_task_version BEFORE INSERT ON public.task
    FOR EACH ROW EXECUTE FUNCTION public.todo_set_task_version();

CREATE TRIGGER advance_task_clock_after_insert AFTER INSERT ON public.task
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION public.todo_advance_task_clock();

CREATE TRIGGER advance_task_clock_after_update AFTER UPDATE ON public.task
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION public.todo_advance_task_clock();

CREATE TRIGGER advance_task_clock_after_delete AFTER DELETE ON public.task
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION public.todo_advance_task_clock();

CREATE TRIGGER advance_task_clock_after_truncate AFTER TRUNCATE ON public.task
    FOR EACH STATEMENT EXECUTE FUNCTION public.todo_advance_task_clock();

-- After the triggers, whose locks keep other sessions from changing a task until this transaction ends.
INSERT INTO public.task_clock (user_id, version, tasks, bytes)
SELECT account.id, coalesce(max(task.version), 0), count(task.id),
       coalesce(sum(public.task_bytes(task.title, task.description, task.due_date, task.tags, task.recursion_pattern)), 0)
FROM public."user" AS account
LEFT JOIN public.task ON task.user_id = account.id
GROUP BY account.id;

-- ----- What the functions do with tasks -----
--
-- Each returns no row where the session is not active. Each that writes locks the clock first and then the task, so that
-- two of them cannot deadlock, and decides only then: it sees the newest version, and every task that was committed.

-- Checks the session, and locks the clock of its user, which it creates where it is missing. NULL where the session is not
-- active.
CREATE FUNCTION public.todo_lock_task_clock(jti text, caller_id integer) RETURNS public.task_clock
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    locked public.task_clock;
BEGIN
    SELECT clock.*
    INTO locked
    FROM public.active_session AS session
    JOIN public.task_clock AS clock ON clock.user_id = session.user_id
    WHERE session.token_jti = jti AND session.user_id = caller_id
    FOR UPDATE OF clock;
    IF NOT FOUND THEN
        PERFORM public.todo_repair_task_clock(session.user_id)
        FROM public.active_session AS session
        WHERE session.token_jti = jti AND session.user_id = caller_id;
        IF FOUND THEN
            SELECT clock.* INTO locked FROM public.task_clock AS clock WHERE clock.user_id = caller_id FOR UPDATE;
        END IF;
    END IF;
    RETURN locked;
END
$$;

-- Creates a task, unless the user has one with this key, or the account would be too large.
--
-- The outcome is `done`, `suppressed` where a trigger or a rule of others suppressed it, `replayed` where the key belongs to
-- the same task, `other task` where it belongs to another one, or `full`.
CREATE FUNCTION public.todo_create_task(
    jti text, caller_id integer, new_task jsonb, key text, hash bytea, max_tasks integer, max_bytes bigint,
    OUT outcome text, OUT tag text, OUT task public.task
) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    clock constant public.task_clock := public.todo_lock_task_clock(jti, caller_id);
BEGIN
    IF clock.user_id IS NULL THEN
        RETURN;
    END IF;
    SELECT existing.*
    INTO task
    FROM public.task AS existing
    WHERE existing.user_id = caller_id AND existing.creation_key = key;
    IF FOUND THEN
        outcome := CASE WHEN task.creation_hash = hash THEN 'replayed' ELSE 'other task' END;
    ELSE
        task := jsonb_populate_record(NULL::public.task, new_task);
        IF clock.tasks >= max_tasks
            OR clock.bytes + public.task_bytes(
                task.title, task.description, task.due_date, task.tags, task.recursion_pattern) > max_bytes THEN
            outcome := 'full';
        ELSE
            INSERT INTO public.task AS created (
                user_id, title, description, due_date, priority, tags, recursion_pattern, completed, creation_key,
                creation_hash
            )
            VALUES (
                caller_id, task.title, task.description, task.due_date, coalesce(task.priority, 'Medium'), task.tags,
                task.recursion_pattern, coalesce(task.completed, false), key, hash
            )
            RETURNING created.* INTO task;
            outcome := CASE WHEN FOUND THEN 'done' ELSE 'suppressed' END;
        END IF;
    END IF;
    tag := public.task_version_tag(task.version);
    RETURN NEXT;
END
$$;

-- Changes a task, where its version is one of the expected ones; an asterisk stands for all. The operation is `update`,
-- which sets these fields, `toggle` or `delete`.
--
-- The outcome is `done`, `suppressed` where a trigger or a rule of others suppressed it, `not found`, `changed` where the
-- version is another one, or `full` where the account would be too large. An operation that makes a task no larger is always
-- possible.
CREATE FUNCTION public.todo_change_task(
    jti text, caller_id integer, task_id bigint, expected text[], operation text, fields jsonb, max_bytes bigint,
    OUT outcome text, OUT tag text, OUT task public.task
) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    clock constant public.task_clock := public.todo_lock_task_clock(jti, caller_id);
    growth integer;
BEGIN
    IF clock.user_id IS NULL THEN
        RETURN;
    END IF;
    SELECT locked.*
    INTO task
    FROM public.task AS locked
    WHERE locked.user_id = caller_id AND locked.id = task_id
    FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'not found';
    ELSIF NOT ('*' = ANY (expected) OR public.task_version_tag(task.version) = ANY (expected)) THEN
        outcome := 'changed';
    ELSIF operation = 'delete' THEN
        DELETE FROM public.task AS deleted WHERE deleted.id = task_id;
        outcome := CASE WHEN FOUND THEN 'done' ELSE 'suppressed' END;
    ELSE
        growth := -public.task_bytes(task.title, task.description, task.due_date, task.tags, task.recursion_pattern);
        IF operation = 'toggle' THEN
            task.completed := NOT task.completed;
        ELSE
            task := jsonb_populate_record(task, fields);
        END IF;
        growth := growth + public.task_bytes(task.title, task.description, task.due_date, task.tags, task.recursion_pattern);
        IF growth > 0 AND clock.bytes + growth > max_bytes THEN
            outcome := 'full';
        ELSE
            UPDATE public.task AS changed
            SET title = task.title, description = task.description, due_date = task.due_date,
                priority = task.priority, tags = task.tags, recursion_pattern = task.recursion_pattern,
                completed = task.completed
            WHERE changed.id = task_id
            RETURNING changed.* INTO task;
            outcome := CASE WHEN FOUND THEN 'done' ELSE 'suppressed' END;
        END IF;
    END IF;
    tag := public.task_version_tag(task.version);
    RETURN NEXT;
END
$$;

-- A task: a row of nulls where the user has no such task. Columns cost less than a row of the table's type.
CREATE FUNCTION public.todo_get_task(
    jti text, caller_id integer, task_id bigint,
    OUT id integer, OUT user_id integer, OUT title text, OUT description text, OUT due_date text, OUT priority text,
    OUT tags text, OUT recursion_pattern text, OUT completed boolean, OUT created_at timestamp,
    OUT updated_at timestamp, OUT tag text
) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT task.id, task.user_id, task.title::text, task.description, task.due_date::text, task.priority::text,
           task.tags, task.recursion_pattern::text, task.completed, task.created_at, task.updated_at,
           public.task_version_tag(task.version)
    FROM public.active_session AS session
    LEFT JOIN public.task ON task.user_id = session.user_id AND task.id = task_id
    WHERE session.token_jti = jti AND session.user_id = caller_id;
END
$$;
