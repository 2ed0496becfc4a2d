-- The statements that grant the role $1 what it lacks on the tables $2, the views $3 and the functions $4.
WITH role AS (
    SELECT $1::text AS name
), our_table AS (
    SELECT name, to_regclass(format('public.%I', name)) AS oid FROM unnest($2::text[]) AS name
), our_sequence AS (
    -- An insert needs the sequence of a serial column, but not that of an identity. Ids are also reserved ahead.
    SELECT pg_get_serial_sequence(format('public.%I', name), attname)::regclass AS sequence
    FROM our_table
    JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
    WHERE attidentity = '' OR attname = 'id'
    UNION
    -- A default can also use a sequence that the column does not own, as after a restore or an import.
    SELECT refobjid::regclass
    FROM our_table
    JOIN pg_attrdef ON adrelid = our_table.oid
    JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
    JOIN pg_sequence ON seqrelid = refobjid
), our_view AS (
    SELECT to_regclass(format('public.%I', name)) AS oid FROM unnest($3::text[]) AS name
), our_function AS (
    SELECT to_regprocedure('public.' || signature) AS oid FROM unnest($4::text[]) AS signature
)
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name)
FROM role
WHERE NOT has_database_privilege(name, current_database(), 'CONNECT')
UNION ALL
SELECT format('GRANT USAGE ON SCHEMA public TO %I', name)
FROM role
WHERE NOT has_schema_privilege(name, 'public', 'USAGE')
UNION ALL
SELECT format('GRANT %s ON TABLE %s TO %I', string_agg(privilege, ', '), oid::regclass, role.name)
FROM role, our_table, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege
WHERE NOT has_table_privilege(role.name, oid, privilege)
  -- Triggers fill the tables of the clock.
  AND NOT (oid = to_regclass('public.task_clock') AND privilege IN ('INSERT', 'DELETE'))
  AND NOT (oid = to_regclass('public.task_epoch') AND privilege <> 'SELECT')
GROUP BY oid, role.name
UNION ALL
SELECT format('GRANT SELECT ON TABLE %s TO %I', oid::regclass, name)
FROM role, our_view
WHERE oid IS NOT NULL AND NOT has_table_privilege(name, oid, 'SELECT')
UNION ALL
SELECT format('GRANT USAGE ON SEQUENCE %s TO %I', sequence, name)
FROM role, our_sequence
WHERE sequence IS NOT NULL AND NOT has_sequence_privilege(name, sequence, 'USAGE')
UNION ALL
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', oid::regprocedure, name)
FROM role, our_function
WHERE oid IS NOT NULL AND NOT has_function_privilege(name, oid, 'EXECUTE')
UNION ALL
SELECT format('GRANT SELECT ON TABLE refinery_schema_history TO %I', name)
FROM role
WHERE NOT has_table_privilege(name, to_regclass('public.refinery_schema_history'), 'SELECT')
