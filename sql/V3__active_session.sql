-- Sessions that last, and personal tokens: the columns, and the one definition of a session that is active.

-- They may exist: the way back to the legacy schema keeps them. In `kind`, NULL counts as `login`.
ALTER TABLE public.session ADD COLUMN IF NOT EXISTS kind text;
ALTER TABLE public.session ADD COLUMN IF NOT EXISTS name varchar(100);
ALTER TABLE public.session ADD COLUMN IF NOT EXISTS scope text;
-- When the password was last given; NULL counts as created_at.
ALTER TABLE public.session ADD COLUMN IF NOT EXISTS authenticated_at timestamp;

-- Later migrations may add columns to a view, but not remove or retype them.
CREATE VIEW public.active_session AS
SELECT id,
       user_id,
       token_jti,
       coalesce(kind, 'login') AS kind,
       scope,
       coalesce(authenticated_at, created_at) AS authenticated_at,
       expires_at
FROM public.session
WHERE NOT revoked AND expires_at > now() AT TIME ZONE 'utc';
