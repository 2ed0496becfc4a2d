-- Objects outside of the expected catalog that hide, change or refuse rows of our tables. One row for each: its table, its
-- name, and what it does. $1 and $2 are the tables and the names of the expected objects, $3 is the functions' role.
WITH RECURSIVE expected AS (
    SELECT * FROM unnest($1::text[], $2::text[]) AS object (relation, name)
), our_table AS (
    SELECT relname::text AS name, pg_class.*
    FROM expected
    JOIN pg_class ON relnamespace = 'public'::regnamespace AND relname = relation AND relkind IN ('r', 'p')
    WHERE expected.name = 'table'
), read_table AS (
    SELECT name, oid, relowner, relrowsecurity, relforcerowsecurity
    FROM our_table
    UNION ALL
    -- The functions read the schema's version here.
    SELECT relname::text, oid, relowner, relrowsecurity, relforcerowsecurity
    FROM pg_class
    WHERE oid = to_regclass('public.refinery_schema_history')
), our_column AS (
    SELECT attrelid, attnum, attname
    FROM our_table
    JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
    JOIN expected ON relation = our_table.name AND expected.name = format('column %s', attname)
), role AS (
    SELECT * FROM pg_roles WHERE rolname = $3
), deleted_table AS (
    -- The tables whose rows are deleted with rows of ours.
    SELECT oid FROM our_table
    UNION
    SELECT conrelid
    FROM deleted_table
    JOIN pg_constraint ON confrelid = deleted_table.oid AND contype = 'f' AND confdeltype = 'c'
), policy AS (
    -- The policies that apply to the role. One that is permissive for a command and restricts nothing has its letter.
    SELECT polrelid, polname, polpermissive,
           CASE WHEN polpermissive
                     AND coalesce(pg_get_expr(polqual, polrelid), 'true') = 'true'
                     AND coalesce(pg_get_expr(polwithcheck, polrelid), 'true') = 'true'
                THEN replace(polcmd::text, '*', 'rawd')
                ELSE '' END AS open_commands
    FROM role, pg_policy
    WHERE EXISTS (
        SELECT FROM unnest(polroles) AS member WHERE member = 0 OR pg_has_role(role.oid, member, 'USAGE')
    )
)
SELECT read_table.name AS relation, 'row level security' AS object,
       CASE WHEN NOT EXISTS (SELECT FROM policy WHERE polrelid = read_table.oid)
            THEN format('found without a policy for the role %s, from which it hides all rows', rolname)
            ELSE format(
                'found with policies that restrict the role %s: %s',
                rolname,
                (SELECT string_agg(polname, ', ' ORDER BY polname) FROM policy WHERE polrelid = read_table.oid)
            )
       END || '; expected none, or for each command a policy USING (true) WITH CHECK (true)' AS description
FROM read_table, role
WHERE relrowsecurity AND NOT rolsuper AND NOT rolbypassrls
  AND (relforcerowsecurity OR NOT pg_has_role(role.oid, relowner, 'USAGE'))
  AND (EXISTS (SELECT FROM policy WHERE polrelid = read_table.oid AND NOT polpermissive)
       OR EXISTS (
           SELECT FROM unnest('{r,a,w,d}'::text[]) AS command
           WHERE NOT EXISTS (
               SELECT FROM policy WHERE polrelid = read_table.oid AND strpos(open_commands, command) > 0
           )
       ))
UNION ALL
SELECT name, format('column %s', pg_attribute.attname),
       'found NOT NULL without a default, so that inserts fail; expected a default, or no NOT NULL'
FROM our_table
JOIN pg_attribute ON attrelid = our_table.oid AND attnum > 0 AND NOT attisdropped
JOIN pg_type ON pg_type.oid = atttypid
WHERE (attnotnull OR typnotnull) AND NOT atthasdef AND attidentity = '' AND typdefault IS NULL
  AND NOT EXISTS (SELECT FROM our_column WHERE our_column.attrelid = our_table.oid AND our_column.attnum = pg_attribute.attnum)
UNION ALL
SELECT name, format('column %s', pg_attribute.attname),
       format('found the collation %s, by which different texts are equal; expected another one', collname)
FROM our_table
JOIN our_column ON our_column.attrelid = our_table.oid
JOIN pg_attribute USING (attrelid, attnum)
JOIN pg_collation ON pg_collation.oid = attcollation
WHERE NOT collisdeterministic
UNION ALL
SELECT name, format('rule %s', rulename),
       format('found %s; expected none, since it replaces or adds to what the functions write', pg_get_ruledef(pg_rewrite.oid, true))
FROM our_table
JOIN pg_rewrite ON ev_class = our_table.oid AND ev_enabled <> 'D'
UNION ALL
SELECT name, format('trigger %s', tgname),
       format('found %s; expected none, since it can change or refuse what the functions write', pg_get_triggerdef(pg_trigger.oid, true))
FROM our_table
JOIN pg_trigger ON tgrelid = our_table.oid AND NOT tgisinternal AND tgenabled IN ('O', 'A')
WHERE NOT EXISTS (
    SELECT FROM expected WHERE relation = our_table.name AND expected.name = format('trigger %s', tgname)
)
UNION ALL
SELECT DISTINCT name, 'foreign keys',
       'found the triggers of foreign keys disabled; expected them enabled (ALTER TABLE ENABLE TRIGGER ALL)'
FROM our_table
JOIN pg_trigger ON tgrelid = our_table.oid AND tgisinternal AND tgenabled IN ('D', 'R')
UNION ALL
-- One that is about other columns alone is tried by the statements of the functions.
SELECT name, format('%s %s', CASE contype WHEN 'c' THEN 'check' ELSE 'exclusion constraint' END, conname),
       format('found %s; expected none, since it can refuse what the functions write', pg_get_constraintdef(pg_constraint.oid, true))
FROM our_table
JOIN pg_constraint ON conrelid = our_table.oid AND contype IN ('c', 'x')
WHERE conkey IS NULL
   OR EXISTS (SELECT FROM our_column WHERE attrelid = our_table.oid AND attnum = ANY (conkey))
UNION ALL
SELECT name, format('foreign key %s', conname),
       format('found %s; expected none, since it can refuse what the functions write', pg_get_constraintdef(pg_constraint.oid, true))
FROM our_table
JOIN pg_constraint ON conrelid = our_table.oid AND contype = 'f'
WHERE EXISTS (SELECT FROM our_column WHERE attrelid = our_table.oid AND attnum = ANY (conkey))
  AND NOT EXISTS (
      SELECT FROM expected
      WHERE relation = our_table.name
        AND expected.name = 'foreign key ' || substring(pg_get_constraintdef(pg_constraint.oid, true) FROM '^FOREIGN KEY (\(.*?\))')
  )
UNION ALL
SELECT conrelid::regclass::text, format('foreign key %s', conname),
       format(
           'found %s; expected ON DELETE CASCADE, or SET NULL of a column that may be NULL, since it keeps the functions '
               'from deleting rows',
           pg_get_constraintdef(pg_constraint.oid, true)
       )
FROM deleted_table
JOIN pg_constraint ON confrelid = deleted_table.oid AND contype = 'f'
WHERE conparentid = 0 AND conrelid NOT IN (SELECT oid FROM our_table)
  AND (confdeltype IN ('a', 'r')
       OR confdeltype IN ('n', 'd') AND EXISTS (
           SELECT FROM pg_attribute
           JOIN pg_type ON pg_type.oid = atttypid
           WHERE attrelid = conrelid AND attnum = ANY (coalesce(confdelsetcols, conkey))
             AND (attnotnull OR typnotnull)
             AND (confdeltype = 'n' OR NOT atthasdef AND typdefault IS NULL)
       ))
UNION ALL
-- A unique index refuses no row that an expected key admits, where it contains all columns of that key. Legacy tables have
-- one on the token of a session, and the unique lower case of an address is a rule of ours.
SELECT name, format('unique index %s', relation_of_index.relname),
       format('found %s; expected none, since it can refuse what the functions write', substring(pg_get_indexdef(indexrelid, 0, true) FROM ' USING (.*)$'))
FROM our_table
JOIN pg_index ON indrelid = our_table.oid AND indisunique
JOIN pg_class AS relation_of_index ON relation_of_index.oid = indexrelid
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(attname::text), '{}') AS columns
    FROM unnest(indkey::smallint[]) WITH ORDINALITY AS part (number, position)
    JOIN pg_attribute ON attrelid = indrelid AND attnum = part.number
    WHERE position <= indnkeyatts
) AS key
WHERE NOT indisprimary
  AND NOT columns @> '{id}'
  AND NOT EXISTS (
      SELECT FROM expected
      WHERE relation = our_table.name AND expected.name LIKE 'unique key (%'
        AND columns @> string_to_array(substring(expected.name FROM '\((.*)\)'), ', ')
  )
  AND NOT (name = 'session' AND columns @> '{token}')
  AND pg_get_expr(indexprs, indrelid) IS DISTINCT FROM 'lower((email)::text)'
  AND (indexprs IS NOT NULL
       OR indnullsnotdistinct
       OR EXISTS (SELECT FROM our_column WHERE attrelid = our_table.oid AND attname = ANY (columns)))
UNION ALL
SELECT name, 'persistence', 'found UNLOGGED, so that a crash of the server empties it; expected LOGGED'
FROM our_table
WHERE relpersistence = 'u'
UNION ALL
SELECT name, format('child table %s', inhrelid::regclass),
       'found; expected none, since the keys of the table do not hold for its rows (ALTER TABLE NO INHERIT)'
FROM our_table
JOIN pg_inherits ON inhparent = our_table.oid
WHERE relkind = 'r'
ORDER BY 1, 2
