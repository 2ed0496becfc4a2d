-- Objects that are in the way of the migrations, in a database that has applied none of them: one sentence for each.
-- $1 and $2 are the tables and the names of the objects that the migrations create.
WITH expected AS (
    SELECT * FROM unnest($1::text[], $2::text[]) AS object (relation, name)
), in_public AS (
    SELECT oid, relname, relkind, relowner, reltype FROM pg_class WHERE relnamespace = 'public'::regnamespace
), needed (relation, name, type) AS (
    -- What the tables of the legacy service have in common.
    VALUES ('user', 'id', 'integer'), ('user', 'username', 'text'), ('user', 'email', 'text'),
           ('user', 'hashed_password', 'text'), ('user', 'created_at', 'timestamp'), ('user', 'updated_at', 'timestamp'),
           ('task', 'id', 'integer'), ('task', 'user_id', 'integer'), ('task', 'title', 'text'),
           ('task', 'description', 'text'), ('task', 'due_date', 'text'), ('task', 'priority', 'enum'),
           ('task', 'tags', 'text'), ('task', 'recursion_pattern', 'text'), ('task', 'completed', 'boolean'),
           ('task', 'created_at', 'timestamp'), ('task', 'updated_at', 'timestamp'),
           ('session', 'id', 'integer'), ('session', 'user_id', 'integer'), ('session', 'token_jti', 'text'),
           ('session', 'token', 'text'), ('session', 'expires_at', 'timestamp'), ('session', 'revoked', 'boolean'),
           ('session', 'created_at', 'timestamp'),
           ('user_sessions', 'id', 'integer'), ('user_sessions', 'user_id', 'integer'),
           ('user_sessions', 'token_jti', 'text'), ('user_sessions', 'token', 'text'),
           ('user_sessions', 'expires_at', 'timestamp'), ('user_sessions', 'revoked', 'boolean'),
           ('user_sessions', 'created_at', 'timestamp'), ('user_sessions', 'last_used_at', 'timestamp'),
           ('user_sessions', 'revoked_at', 'timestamp')
), adopted AS (
    SELECT * FROM in_public WHERE relname IN (SELECT relation FROM needed)
), unsuitable AS (
    SELECT adopted.oid,
           string_agg(needed.name, ', ' ORDER BY needed.name) FILTER (WHERE atttypid IS NULL) AS missing,
           string_agg(
               format('%s (%s instead of %s)', needed.name, format_type(atttypid, NULL), needed.type), ', ' ORDER BY needed.name
           ) FILTER (WHERE atttypid IS NOT NULL) AS mistyped
    FROM adopted
    JOIN needed ON relation = relname
    LEFT JOIN pg_attribute ON attrelid = adopted.oid AND attname = needed.name AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_type ON pg_type.oid = atttypid
    WHERE relkind = 'r'
      AND CASE type
              WHEN 'integer' THEN atttypid = 'integer'::regtype
              WHEN 'boolean' THEN atttypid = 'boolean'::regtype
              WHEN 'timestamp' THEN atttypid = 'timestamp'::regtype
              WHEN 'enum' THEN typtype = 'e' OR atttypid IN ('text'::regtype, 'varchar'::regtype)
              ELSE atttypid IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype)
          END IS NOT TRUE
    GROUP BY adopted.oid
), enum AS (
    SELECT pg_type.oid, typname, typarray, string_agg(enumlabel, ', ' ORDER BY enumsortorder) = 'High, Medium, Low' AS is_ours
    FROM pg_type
    JOIN pg_enum ON enumtypid = pg_type.oid
    WHERE typnamespace = 'public'::regnamespace
    GROUP BY pg_type.oid
), priority AS (
    SELECT adopted.oid AS relation, attnum, atttypid
    FROM adopted
    JOIN pg_attribute ON attrelid = adopted.oid AND attname = 'priority'
    WHERE relname = 'task'
), replaced_enum AS (
    -- The type of the legacy priorities, which the first migration removes.
    SELECT enum.oid, typarray, typname
    FROM enum
    JOIN priority ON atttypid = enum.oid
    WHERE NOT (is_ours AND typname = 'priority_enum')
), retyped AS (
    -- The columns whose type the first migration sets.
    SELECT attrelid, attnum, format('%s.%s', relname, attname) AS name
    FROM adopted
    JOIN pg_attribute ON attrelid = adopted.oid
    WHERE (relname, attname) IN (
        ('user', 'hashed_password'), ('task', 'description'), ('task', 'tags'), ('task', 'priority')
    )
), dependent AS (
    SELECT classid, objid, objsubid, format('uses the type %s, which the migration removes', typname) AS reason
    FROM replaced_enum
    JOIN pg_depend ON refclassid = 'pg_type'::regclass AND refobjid IN (replaced_enum.oid, typarray) AND deptype = 'n'
    WHERE NOT (classid = 'pg_class'::regclass AND (objid, objsubid) IN (SELECT relation, attnum FROM priority))
    UNION
    -- Indexes, keys and statistics of a column are rebuilt with it. A check of the priority compares the old labels.
    SELECT classid, objid, objsubid, format('uses the column %s, whose type the migration changes', name)
    FROM retyped
    JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = attrelid AND refobjsubid = attnum
    WHERE classid NOT IN ('pg_class'::regclass, 'pg_statistic_ext'::regclass)
      AND (classid <> 'pg_constraint'::regclass
           OR name = 'task.priority' AND EXISTS (SELECT FROM replaced_enum)
              AND EXISTS (SELECT FROM pg_constraint WHERE pg_constraint.oid = objid AND contype = 'c'))
    UNION
    SELECT classid, objid, objsubid, format('uses the row type of the table %s, whose columns the migration changes', relname)
    FROM adopted
    JOIN pg_type ON pg_type.oid = reltype
    JOIN pg_depend ON refclassid = 'pg_type'::regclass AND refobjid IN (pg_type.oid, typarray) AND deptype = 'n'
    WHERE classid = 'pg_class'::regclass AND objsubid > 0
      AND EXISTS (SELECT FROM pg_class WHERE pg_class.oid = objid AND relkind IN ('r', 'p', 'm'))
    UNION
    SELECT classid, objid, objsubid, 'uses the table user_sessions, which the migration moves into session'
    FROM adopted
    JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = adopted.oid
    WHERE relname = 'user_sessions' AND EXISTS (SELECT FROM adopted WHERE relname = 'session')
      AND (classid = 'pg_rewrite'::regclass
           OR classid = 'pg_constraint'::regclass
              AND EXISTS (SELECT FROM pg_constraint WHERE pg_constraint.oid = objid AND conrelid <> confrelid AND confrelid = adopted.oid))
), described AS (
    -- A view is named once, and not by its rule and each of its columns.
    SELECT CASE WHEN view.oid IS NOT NULL THEN pg_describe_object('pg_class'::regclass, view.oid, 0)
                ELSE pg_describe_object(classid, objid, objsubid) END AS name,
           reason
    FROM dependent
    LEFT JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND pg_rewrite.oid = objid AND rulename = '_RETURN'
    LEFT JOIN pg_class AS view ON view.relkind IN ('v', 'm')
        AND view.oid = coalesce(ev_class, CASE WHEN classid = 'pg_class'::regclass THEN objid END)
    LEFT JOIN pg_attrdef ON classid = 'pg_attrdef'::regclass AND pg_attrdef.oid = objid
    LEFT JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    LEFT JOIN pg_trigger ON classid = 'pg_trigger'::regclass AND pg_trigger.oid = objid
    -- The first migration drops the default of the priority, and triggers with the names of its own. Defaults of a column of
    -- the type go with the column, which is named itself.
    WHERE NOT (pg_attrdef.oid IS NOT NULL AND attgenerated = ''
               AND ((attrelid, attnum) IN (SELECT attrelid, attnum FROM retyped)
                    OR atttypid IN (SELECT unnest(ARRAY[oid, typarray]) FROM replaced_enum)))
      AND coalesce(tgname NOT IN ('update_user_updated_at', 'update_task_updated_at'), true)
)
SELECT format('the table public.%I is not the legacy service''s%s%s; %s', relname,
              ': it lacks the columns ' || missing,
              CASE WHEN missing IS NULL THEN ': ' ELSE '; ' END || 'it has other types: ' || mistyped,
              'give this service a database of its own, or move the other program''s tables to another schema')
FROM unsuitable
JOIN adopted USING (oid)
UNION ALL
SELECT format('%s has the name of a table of this service; rename it, or give this service a database of its own',
              pg_describe_object('pg_class'::regclass, oid, 0))
FROM adopted
WHERE relkind <> 'r'
UNION ALL
SELECT format('the table public.%I belongs to the role %s; run the migrations as that role, or as a member of it',
              relname, pg_get_userbyid(relowner))
FROM adopted
WHERE relkind = 'r' AND NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT format('%s has the name of a %s that the migrations create; rename it, or give this service a database of its own',
              pg_describe_object('pg_class'::regclass, oid, 0), expected.name)
FROM expected
JOIN in_public ON relname = relation
WHERE expected.name IN ('table', 'view') AND relation NOT IN (SELECT relation FROM needed)
UNION ALL
SELECT format('the type public.%I has the name of a %s that the migrations create; rename it', typname, expected.name)
FROM expected
JOIN pg_type ON typname = relation AND typnamespace = 'public'::regnamespace
WHERE expected.name IN ('table', 'view') AND typrelid = 0 AND typelem = 0
UNION ALL
SELECT format('%s has the name of an index that the migrations create; rename it',
              pg_describe_object('pg_class'::regclass, in_public.oid, 0))
FROM expected
JOIN in_public ON 'index ' || relname = expected.name
LEFT JOIN pg_index ON indexrelid = in_public.oid
LEFT JOIN pg_class AS indexed ON indexed.oid = indrelid
WHERE indexed.relname IS DISTINCT FROM relation
UNION ALL
SELECT format('the function public.%s exists, and the migrations create one of that name; rename it', signature)
FROM expected
JOIN (
    SELECT format('%s(%s)', proname, oidvectortypes(proargtypes)) AS signature
    FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
) AS existing ON 'function ' || signature = expected.name
UNION ALL
SELECT format('the type public.%I has the name of one that the migrations create, and is another; rename it', typname)
FROM pg_type
LEFT JOIN enum USING (oid, typname)
WHERE typname IN ('priority_enum', 'former_priority_enum') AND typnamespace = 'public'::regnamespace AND typelem = 0
  AND NOT coalesce(is_ours AND typname = 'priority_enum', false)
  AND pg_type.oid NOT IN (SELECT atttypid FROM priority)
UNION ALL
SELECT DISTINCT format('%s %s; drop it, and create it again after the migration', name, reason) FROM described
ORDER BY 1
