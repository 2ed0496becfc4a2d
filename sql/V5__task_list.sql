-- The list of tasks: filters, search, orders and pages.

SET LOCAL client_min_messages = warning;

-- The letters whose case is ignored. Databases differ in their collation, and `C` knows only those of ASCII, so this is one
-- that knows all letters, whatever the collation of the database: the first of these that the server has.
DO $$
DECLARE
    known constant text[] := ARRAY['pg_c_utf8', 'und-x-icu', 'C.utf8', 'C.UTF-8', 'default'];
BEGIN
    EXECUTE format('CREATE COLLATION public.todo_letters FROM pg_catalog.%I', (
        SELECT collname
        FROM pg_collation
        WHERE collnamespace = 'pg_catalog'::regnamespace AND collname = ANY (known)
          AND collencoding IN (-1, pg_char_to_encoding(getdatabaseencoding()))
        ORDER BY array_position(known, collname::text)
        LIMIT 1
    ));
END
$$;

-- A text as it is compared where case is ignored: two texts that differ by case alone, or by how a letter and its accent are
-- encoded, become equal. What collations do differently is made the same: the Greek final sigma, the German sharp s, and the
-- Turkish capital I with a dot. The bytes of the result are compared.
CREATE FUNCTION public.todo_fold_case(original text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN octet_length(original) = char_length(original) THEN lower(original COLLATE pg_catalog."C")
    ELSE replace(replace(replace(
        lower(CASE WHEN original IS NORMALIZED THEN original ELSE normalize(original) END COLLATE public.todo_letters),
        U&'\03C2', U&'\03C3'), U&'\00DF', 'ss'), U&'i\0307', 'i') COLLATE pg_catalog."C"
END;

-- The tags in a list with commas, folded and without the white space around them; also two empty ones.
CREATE FUNCTION public.todo_tags(list text) RETURNS text[]
LANGUAGE sql IMMUTABLE
RETURN regexp_split_to_array(
    ',' || public.todo_fold_case(list) || ',',
    '[\s\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*,[\s\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]*'
);

-- All days of a year, as MM-DD.
CREATE FUNCTION public.todo_days() RETURNS text[]
LANGUAGE sql IMMUTABLE
RETURN ARRAY(SELECT to_char(date '2024-01-01' + day, 'MM-DD') FROM generate_series(0, 365) AS day);

-- The date that a text begins with, as YYYY-MM-DD; NULL where it begins with none. A regular expression for all of this
-- takes three times as long.
CREATE FUNCTION public.todo_date(original text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN substr(original, 6, 5) <> ALL (public.todo_days()) THEN NULL
    WHEN ltrim(left(original, 5), '0123456789') <> '-' THEN NULL
    WHEN substr(original, 11, 1) IN ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9') THEN NULL
    -- Every fourth year has a 29th of February, but of the last years of the centuries only every fourth.
    WHEN substr(original, 6, 5) = '02-29'
        AND original !~ '^([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)' THEN NULL
    ELSE left(original, 10)
END;

-- What is asked of a list: filters, an order, and the place to go on after. NULL stands for what is not asked.
CREATE TYPE public.todo_task_query AS (
    completed  boolean,
    priorities public.priority_enum[],
    tags       text[],
    due_from   text,
    due_to     text,
    contained  text,
    sort       text,
    descending boolean,
    after_key  text,
    after_id   bigint,
    max_tasks  integer
);

-- Whether a task passes the filters. The texts of the query are already folded.
CREATE FUNCTION public.todo_task_matches(
    query public.todo_task_query, completed boolean, priority public.priority_enum, title text, description text,
    tags text, due_date text
) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN ((query).completed IS NULL OR completed = (query).completed)
    AND ((query).priorities IS NULL OR priority = ANY ((query).priorities))
    AND ((query).tags IS NULL OR public.todo_tags(tags) @> (query).tags)
    AND ((query).due_from IS NULL OR public.todo_date(due_date) >= (query).due_from COLLATE pg_catalog."C")
    AND ((query).due_to IS NULL OR public.todo_date(due_date) <= (query).due_to COLLATE pg_catalog."C")
    AND ((query).contained IS NULL
        OR strpos(public.todo_fold_case(title), (query).contained) > 0
        OR strpos(public.todo_fold_case(description), (query).contained) > 0
        OR strpos(public.todo_fold_case(tags), (query).contained) > 0);

-- What an order compares, as a text whose bytes are compared: a cursor can hold it. NULL comes last.
--
-- A time is the number of microseconds since 2000, in hexadecimal, after a digit that puts the negative numbers first.
CREATE FUNCTION public.todo_task_sort_key(
    sort text, priority public.priority_enum, title text, due_date text, created_at timestamp, updated_at timestamp
) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE sort
    WHEN 'priority' THEN CASE priority WHEN 'High' THEN '1' WHEN 'Medium' THEN '2' ELSE '3' END
    WHEN 'title' THEN public.todo_fold_case(title)
    WHEN 'due_date' THEN CASE WHEN public.todo_date(due_date) IS NOT NULL THEN left(due_date, 50) END
    WHEN 'created_at' THEN
        CASE WHEN created_at < timestamp '2000-01-01' THEN '0' ELSE '1' END || encode(timestamp_send(created_at), 'hex')
    WHEN 'updated_at' THEN
        CASE WHEN updated_at < timestamp '2000-01-01' THEN '0' ELSE '1' END || encode(timestamp_send(updated_at), 'hex')
END;

-- The ids of the tasks that a query asks for, ordered by id, and one more where there are more. The index gives the order, so
-- that no more is read than the page needs. The planner could think that reading and sorting all of a user's tasks is as good,
-- or walking the primary key through the tasks of others: hence the settings, and the order by both columns.
CREATE FUNCTION public.todo_page_by_id(caller_id integer, query public.todo_task_query, is_filtered boolean)
RETURNS integer[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_sort = off SET enable_incremental_sort = off SET enable_bitmapscan = off AS $$
BEGIN
    IF query.descending THEN
        RETURN ARRAY(
            SELECT task.id
            FROM public.task
            WHERE (task.user_id, task.id) < (caller_id, coalesce(query.after_id, 2147483648))
              AND task.user_id >= caller_id
              AND (NOT is_filtered OR public.todo_task_matches(
                  query, task.completed, task.priority, task.title, task.description, task.tags, task.due_date))
            ORDER BY task.user_id DESC, task.id DESC
            LIMIT query.max_tasks + 1
        );
    END IF;
    RETURN ARRAY(
        SELECT task.id
        FROM public.task
        WHERE (task.user_id, task.id) > (caller_id, coalesce(query.after_id, -2147483649))
          AND task.user_id <= caller_id
          AND (NOT is_filtered OR public.todo_task_matches(
              query, task.completed, task.priority, task.title, task.description, task.tags, task.due_date))
        ORDER BY task.user_id, task.id
        LIMIT query.max_tasks + 1
    );
END
$$;

-- The tasks of a user that a query asks for; without a query all of them, ordered by id. No row where the session is not
-- active.
--
-- The first row has only the tag of all tasks, and `matches`: at least so many tasks there are, and where fewer follow, the
-- others were left out. `matches` is NULL where the tag is a known one, and then no task is read. An asterisk stands for all
-- tags. Where the clock is missing, the tag is one that never comes again.
--
-- Tasks beyond max_bytes are left out; without a query, then all are. The first one that a query asks for never is.
CREATE FUNCTION public.todo_list_tasks(
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
        page := ARRAY(
            WITH candidate AS MATERIALIZED (
                SELECT task.id,
                       public.todo_task_sort_key(query.sort, priority, title, due_date, created_at, updated_at)
                           COLLATE pg_catalog."C" AS key
                FROM public.task
                WHERE task.user_id = caller_id
                  AND (NOT is_filtered OR public.todo_task_matches(
                      query, completed, priority, title, description, tags, due_date))
            )
            SELECT candidate.id
            FROM candidate
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
