-- What the schema public consists of. One row for each object: its table ('' for an object without one), its name, its
-- description, and whether it belongs into the expected catalog. Descriptions come from PostgreSQL's own functions, without
-- the names that the object has already.
WITH relation AS (
    SELECT relname::text AS name, oid, relkind
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND relname <> 'refinery_schema_history'
), key AS (
    SELECT indexrelid, indrelid, indisprimary, indisvalid,
           indisunique AND indimmediate AND indisvalid AND indpred IS NULL AND indexprs IS NULL AS is_key,
           '(' || (SELECT string_agg(quote_ident(attname), ', ' ORDER BY position)
                   FROM unnest(indkey::smallint[]) WITH ORDINALITY AS part (number, position)
                   JOIN pg_attribute ON attrelid = indrelid AND attnum = part.number
                   WHERE position <= indnkeyatts) || ')' AS columns
    FROM pg_index
)
SELECT '' AS relation, 'enum ' || typname AS object, string_agg(enumlabel, ', ' ORDER BY enumsortorder) AS description,
       true AS is_expected
FROM pg_enum
JOIN pg_type ON pg_type.oid = enumtypid
WHERE typnamespace = 'public'::regnamespace
GROUP BY typname
UNION ALL
SELECT '', format('function %s(%s)', proname, oidvectortypes(proargtypes)),
       format('RETURNS %s LANGUAGE %s', pg_get_function_result(pg_proc.oid), lanname)
       || coalesce(' SET ' || array_to_string(proconfig, ' '), '')
       || CASE provolatile WHEN 'i' THEN ' IMMUTABLE' WHEN 's' THEN ' STABLE' ELSE '' END
       || CASE WHEN proisstrict THEN ' STRICT' ELSE '' END
       || CASE WHEN prosecdef THEN ' SECURITY DEFINER' ELSE '' END
       || ' AS ' || btrim(regexp_replace(coalesce(pg_get_function_sqlbody(pg_proc.oid), prosrc), '\s+', ' ', 'g')),
       true
FROM pg_proc
JOIN pg_language ON pg_language.oid = prolang
WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
UNION ALL
SELECT name, 'table', 'present', true
FROM relation
WHERE relkind <> 'v'
UNION ALL
-- Without qualifiers, which depend on the server's version.
SELECT name, 'view',
       btrim(regexp_replace(regexp_replace(pg_get_viewdef(oid), '\m[a-z_]+\.', '', 'g'), '\s+', ' ', 'g')), true
FROM relation
WHERE relkind = 'v'
UNION ALL
SELECT name, 'column ' || attname,
       CASE WHEN is_serial THEN 'serial' ELSE format_type(atttypid, atttypmod) END
       || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
       || CASE WHEN attgenerated <> '' THEN ' GENERATED ALWAYS AS ' || expression
               WHEN attidentity <> '' THEN ' GENERATED AS IDENTITY'
               WHEN expression IS NULL OR is_serial THEN ''
               ELSE ' DEFAULT ' || expression END,
       true
FROM relation
JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
CROSS JOIN pg_get_expr(adbin, adrelid) AS expression
CROSS JOIN LATERAL (
    SELECT atttypid = 'integer'::regtype AND coalesce(
        expression = format(
            'nextval(%L::regclass)',
            pg_get_serial_sequence(format('public.%I', name), attname)::regclass
        ),
        false
    )
) AS serial (is_serial)
UNION ALL
SELECT name, CASE WHEN indisprimary THEN 'primary key' ELSE 'unique key ' || columns END,
       CASE WHEN indisprimary THEN columns ELSE 'present' END, true
FROM relation
JOIN key ON indrelid = oid
WHERE is_key
UNION ALL
SELECT name, 'foreign key ' || substring(definition FROM '^FOREIGN KEY (\(.*?\))'),
       string_agg(substring(definition FROM '^FOREIGN KEY \(.*?\) (.*)$'), '; '), true
FROM relation
JOIN pg_constraint ON conrelid = relation.oid AND contype = 'f'
CROSS JOIN pg_get_constraintdef(pg_constraint.oid, true) AS definition
GROUP BY 1, 2
UNION ALL
-- A unique index is expected as a key, whatever its name.
SELECT name, 'index ' || relname,
       substring(pg_get_indexdef(indexrelid, 0, true) FROM ' USING (.*)$')
       || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END,
       NOT is_key
FROM relation
JOIN key ON indrelid = relation.oid
JOIN pg_class ON pg_class.oid = indexrelid
UNION ALL
SELECT name, 'trigger ' || tgname,
       regexp_replace(
           substring(pg_get_triggerdef(pg_trigger.oid, true) FROM length(format('CREATE TRIGGER %I ', tgname)) + 1),
           ' ON (\S+\.)?' || quote_ident(name) || ' ',
           ' '
       )
       || CASE tgenabled WHEN 'O' THEN '' WHEN 'A' THEN '' ELSE ' DISABLED' END,
       true
FROM relation
JOIN pg_trigger ON tgrelid = relation.oid AND NOT tgisinternal
