-- The privileges of PUBLIC that would let the functions' role create objects: the statement that revokes each, the role that
-- may do that, and whether the session's role is a member of it.
WITH acl (object, owner, privilege, grantee) AS (
    SELECT format('DATABASE %I', datname), datdba, privilege_type, grantee
    FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
    WHERE datname = current_database() AND privilege_type IN ('CREATE', 'TEMPORARY')
    UNION ALL
    SELECT 'SCHEMA public', nspowner, privilege_type, grantee
    FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    WHERE nspname = 'public' AND privilege_type = 'CREATE'
)
SELECT format('REVOKE %s ON %s FROM PUBLIC', string_agg(privilege, ', ' ORDER BY privilege), object),
       pg_get_userbyid(owner)::text,
       pg_has_role(owner, 'USAGE')
FROM acl
WHERE grantee = 0
GROUP BY object, owner
ORDER BY object
