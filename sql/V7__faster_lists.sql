-- Lists by due date, with filters, or of few tasks: the same answers, in less time.
--
-- The functions that are replaced answer the same as before, so the previous release goes on working with them.

SET LOCAL client_min_messages = warning;

-- The years of nearly all dates, each with the hyphen that follows it.
CREATE FUNCTION public.todo_usual_years() RETURNS text[]
LANGUAGE sql IMMUTABLE
RETURN ARRAY(SELECT year || '-' FROM generate_series(1900, 2199) AS year);

-- The date that a text begins with, as YYYY-MM-DD; NULL where it begins with none. The usual dates are recognized by looking
-- up their two parts, because looking at each digit takes twice as long, and a regular expression three times.
CREATE OR REPLACE FUNCTION public.todo_date(original text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN substr(original, 6, 5) <> ALL (public.todo_days()) THEN NULL
    WHEN octet_length(original) = 10
        AND left(original, 5) = ANY (public.todo_usual_years())
        AND original NOT LIKE '%-02-29' THEN original
    WHEN ltrim(left(original, 5), '0123456789') <> '-' THEN NULL
    WHEN substr(original, 11, 1) IN ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9') THEN NULL
    -- Every fourth year has a 29th of February, but of the last years of the centuries only every fourth.
    WHEN substr(original, 6, 5) = '02-29'
        AND original !~ '^([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)' THEN NULL
    ELSE left(original, 10)
END;

-- A time as a text whose bytes are compared: the number of microseconds since 2000, in hexadecimal, after a digit that puts
-- the negative numbers first.
CREATE FUNCTION public.todo_time_key(moment timestamp) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN moment < timestamp '2000-01-01' THEN '0' ELSE '1' END || encode(timestamp_send(moment), 'hex');

-- What an order compares, as a text whose bytes are compared: a cursor can hold it. NULL comes last.
CREATE OR REPLACE FUNCTION public.todo_task_sort_key(
    sort text, priority public.priority_enum, title text, due_date text, created_at timestamp, updated_at timestamp
) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE sort
    WHEN 'priority' THEN CASE priority WHEN 'High' THEN '1' WHEN 'Medium' THEN '2' ELSE '3' END
    WHEN 'title' THEN public.todo_fold_case(title)
    WHEN 'due_date' THEN CASE
        WHEN octet_length(due_date) = 10 THEN public.todo_date(due_date)
        WHEN public.todo_date(due_date) IS NOT NULL THEN left(due_date, 50)
    END
    WHEN 'created_at' THEN public.todo_time_key(created_at)
    WHEN 'updated_at' THEN public.todo_time_key(updated_at)
END;

-- The plan of a page is made once for a connection. Left alone, PostgreSQL makes it again for each list, because a plan for the
-- given query looks cheaper; making it takes as long as reading hundreds of tasks.
ALTER FUNCTION public.todo_page_by_id(integer, public.todo_task_query, boolean)
    SET plan_cache_mode = force_generic_plan;

-- The ids of the tasks that a query asks for, in another order than by id, and one more where there are more. OFFSET 0 keeps
-- the key from being computed again for each comparison.
CREATE FUNCTION public.todo_page_by_key(caller_id integer, query public.todo_task_query, is_filtered boolean)
RETURNS integer[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN ARRAY(
        SELECT candidate.id
        FROM (
            SELECT task.id,
                   public.todo_task_sort_key(
                       query.sort, task.priority, task.title, task.due_date, task.created_at, task.updated_at)
                       COLLATE pg_catalog."C" AS key
            FROM public.task
            WHERE task.user_id = caller_id
              AND (NOT is_filtered OR public.todo_task_matches(
                  query, task.completed, task.priority, task.title, task.description, task.tags, task.due_date))
            OFFSET 0
        ) AS candidate
        WHERE CASE
            WHEN query.after_id IS NULL THEN true
            WHEN candidate.key IS NOT DISTINCT FROM query.after_key THEN candidate.id > query.after_id
            WHEN candidate.key IS NULL THEN true
            WHEN query.after_key IS NULL THEN false
            WHEN query.descending THEN candidate.key < query.after_key
            ELSE candidate.key > query.after_key
        END
        -- In each direction, one of the two is NULL for all.
        ORDER BY CASE WHEN NOT query.descending THEN candidate.key END,
                 CASE WHEN query.descending THEN candidate.key END DESC NULLS LAST,
                 candidate.id
        LIMIT query.max_tasks + 1
    );
END
$$;

-- As in V5, except for the page by another key: the statement there stores each task's key, which takes a quarter longer.
--
-- The tasks of a user that a query asks for; without a query all of them, ordered by id. No row where the session is not
-- active.
--
-- The first row has only the tag of all tasks, and `matches`: at least so many tasks there are, and where fewer follow, the
-- others were left out. `matches` is NULL where the tag is a known one, and then no task is read. An asterisk stands for all
-- tags. Where the clock is missing, the tag is one that never comes again.
--
-- Tasks beyond max_bytes are left out; without a query, then all are. The first one that a query asks for never is.
CREATE OR REPLACE FUNCTION public.todo_list_tasks(
    jti text, caller_id integer, known text[], max_bytes bigint, task_query jsonb,
    OUT id integer, OUT user_id integer, OUT title text, OUT description text, OUT due_date text, OUT priority text,
    OUT tags text, OUT recursion_pattern text, OUT completed boolean, OUT created_at timestamp,
    OUT updated_at timestamp, OUT tag text, OUT matches integer, OUT sort_key text
) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    query public.todo_task_query;
    is_filtered boolean;
    page integer[];
BEGIN
    SELECT public.task_version_tag(coalesce(clock.version, public.todo_unused_task_version())),
           CASE WHEN clock.bytes > max_bytes THEN clock.tasks ELSE 0 END
    INTO tag, matches
    FROM public.active_session AS session
    LEFT JOIN public.task_clock AS clock ON clock.user_id = session.user_id
    WHERE session.token_jti = jti AND session.user_id = caller_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF tag = ANY (known) OR '*' = ANY (known) THEN
        matches := NULL;
        RETURN NEXT;
        RETURN;
    END IF;

    IF task_query IS NULL THEN
        RETURN NEXT;
        IF matches = 0 THEN
            RETURN QUERY
            SELECT task.id, task.user_id, task.title::text, task.description, task.due_date::text, task.priority::text,
                   task.tags, task.recursion_pattern::text, task.completed, task.created_at, task.updated_at,
                   NULL, NULL::integer, NULL
            FROM public.task
            WHERE task.user_id = caller_id
            ORDER BY task.id;
        END IF;
        RETURN;
    END IF;

    query := jsonb_populate_record(NULL::public.todo_task_query, task_query);
    query.contained := public.todo_fold_case(query.contained);
    IF query.tags IS NOT NULL THEN
        query.tags := ARRAY(SELECT public.todo_fold_case(wanted) FROM unnest(query.tags) AS wanted);
    END IF;
    is_filtered := num_nonnulls(
        query.completed, query.priorities, query.tags, query.due_from, query.due_to, query.contained) > 0;
    IF query.sort = 'id' THEN
        page := public.todo_page_by_id(caller_id, query, is_filtered);
    ELSE
        page := public.todo_page_by_key(caller_id, query, is_filtered);
    END IF;

    matches := cardinality(page);
    RETURN NEXT;
    RETURN QUERY
    SELECT shown.id, shown.user_id, shown.title::text, shown.description, shown.due_date::text, shown.priority::text,
           shown.tags, shown.recursion_pattern::text, shown.completed, shown.created_at, shown.updated_at, NULL,
           NULL::integer,
           public.todo_task_sort_key(
               query.sort, shown.priority, shown.title, shown.due_date, shown.created_at, shown.updated_at)
    FROM (
        SELECT task.*, entry.place,
               -- Every task also has names, ids and times in the answer.
               sum(200 + public.task_bytes(title, description, due_date, tags, recursion_pattern))
                   OVER (ORDER BY entry.place) AS bytes
        FROM unnest(page) WITH ORDINALITY AS entry (id, place)
        JOIN public.task ON task.id = entry.id
        WHERE entry.place <= coalesce(query.max_tasks, entry.place)
    ) AS shown
    WHERE shown.bytes <= max_bytes OR shown.place = 1
    ORDER BY shown.place;
END
$$;
