-- Why the role $1 could not log in: what is found, and what is expected.
SELECT found, expected
FROM pg_roles
JOIN pg_database ON datname = current_database()
CROSS JOIN LATERAL (VALUES
    (NOT rolcanlogin, 'NOLOGIN', 'LOGIN'),
    (rolvaliduntil < now(), format('VALID UNTIL %L', rolvaliduntil), 'a time in the future, or none'),
    (rolconnlimit = 0, 'CONNECTION LIMIT 0', 'a higher limit, or none'),
    (datconnlimit = 0 AND NOT rolsuper, 'CONNECTION LIMIT 0 of the database', 'a higher limit, or none')
) AS problem (holds, found, expected)
WHERE rolname = $1 AND holds
