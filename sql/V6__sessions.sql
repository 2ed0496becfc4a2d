-- Sessions that last, and personal tokens: the functions that open and end sessions.
--
-- A function that opens sessions, or ends several, holds the account's row locked and reads the sessions only then. So it
-- sees every session that was committed before: limits hold for requests at the same time, and a session that is opened
-- while others are ended is either ended too or not opened at all.

-- Opens a login, for a statement that holds the account's row locked. An account keeps 50 rows of logins.
--
-- Beyond that, those that have ended are deleted first. If the login is a refresh, those with the same authenticated_at come
-- next, which go back to one login: the earlier refreshes, the oldest first; then that login; then the refreshed one. The
-- oldest of all others come last. If the login is none, the oldest of all are deleted.
CREATE FUNCTION public.todo_open_login(
    account_id integer, jti text, fingerprint text, expiry timestamp, refreshed_jti text, password_given_at timestamp
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Sent twice, the statement finds the session that it has opened.
    INSERT INTO public.session (user_id, token_jti, token, expires_at, kind, authenticated_at)
    VALUES (account_id, jti, fingerprint, expiry, 'login', password_given_at)
    ON CONFLICT (token_jti) DO UPDATE SET token = excluded.token;

    -- A row that someone else is ending or deleting is left to them. Waiting for it could end in a deadlock.
    DELETE FROM public.session
    WHERE id IN (
        SELECT surplus.id
        FROM public.session AS surplus
        WHERE surplus.id IN (
            SELECT login.id
            FROM public.session AS login
            WHERE login.user_id = account_id AND login.kind IS DISTINCT FROM 'token' AND login.token_jti <> jti
            ORDER BY NOT login.revoked AND login.expires_at > now() AT TIME ZONE 'utc' DESC,
                     CASE
                         WHEN coalesce(login.authenticated_at, login.created_at) = password_given_at THEN CASE
                             WHEN login.token_jti = refreshed_jti THEN 1
                             WHEN login.authenticated_at IS NULL THEN 2
                             ELSE 3
                         END
                         ELSE 0
                     END,
                     login.created_at DESC,
                     login.id DESC
            OFFSET 49
        )
        FOR UPDATE SKIP LOCKED
    );
END
$$;

-- Opens a login for a caller who has one. No row where that one is not active, or the password was given max_days ago.
--
-- A token names its expiry, the email address and the username, so they have to be right before it is signed. Where they
-- are not, is_open is false, and the columns have what the token must name.
CREATE FUNCTION public.todo_refresh_login(
    jti text, caller_id integer, new_jti text, fingerprint text, expiry bigint, named_email text, named_username text,
    max_days integer,
    OUT is_open boolean, OUT email text, OUT username text, OUT latest_expiry bigint
) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    password_given_at timestamp;
    right_now constant timestamp := now() AT TIME ZONE 'utc';
BEGIN
    SELECT account.email, account.username
    INTO email, username
    FROM public."user" AS account
    WHERE account.id = caller_id
    FOR NO KEY UPDATE;

    -- Sent twice, the statement may have deleted the session of the caller; then the new one stands for it.
    SELECT session.authenticated_at
    INTO password_given_at
    FROM public.active_session AS session
    WHERE session.token_jti IN (jti, new_jti) AND session.user_id = caller_id AND session.kind = 'login'
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    latest_expiry := floor(extract(epoch FROM least(password_given_at, right_now) + make_interval(days => max_days)));
    IF latest_expiry <= extract(epoch FROM right_now) THEN
        RETURN;
    END IF;
    is_open := expiry <= latest_expiry AND named_email = email AND named_username = username;
    IF is_open THEN
        PERFORM public.todo_open_login(
            caller_id, new_jti, fingerprint, to_timestamp(expiry) AT TIME ZONE 'utc', jti, password_given_at
        );
    END IF;
    RETURN NEXT;
END
$$;

-- Ends the other sessions of a caller that are of these kinds. False where the caller's session is not active.
CREATE FUNCTION public.todo_end_other_sessions(jti text, caller_id integer, kinds text[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public."user" WHERE id = caller_id FOR NO KEY UPDATE;
    IF NOT EXISTS (
        SELECT FROM public.active_session AS session WHERE session.token_jti = jti AND session.user_id = caller_id
    ) THEN
        RETURN false;
    END IF;
    UPDATE public.session
    SET revoked = true
    WHERE user_id = caller_id AND token_jti <> jti AND NOT revoked AND expires_at > now() AT TIME ZONE 'utc'
      AND coalesce(kind, 'login') = ANY (kinds);
    RETURN true;
END
$$;

-- Creates a personal token for a caller whose password was just verified, and takes back the attempt: an account has at most
-- 20 of them. No row where the caller's session is not active.
--
-- The outcome is `done`, `too many`, or `other hash` where the account has another hash than the verified one.
CREATE FUNCTION public.todo_create_token(
    jti text, caller_id integer, verified_hash text, token_hash text, token_name text, token_scope text, days integer,
    address_key bytea, from_known_address boolean,
    OUT outcome text, OUT id integer, OUT created_at timestamp, OUT expires_at timestamp
) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    right_now constant timestamp := now() AT TIME ZONE 'utc';
    has_hash boolean;
BEGIN
    PERFORM FROM public."user" AS account
    WHERE account.id = caller_id AND account.hashed_password = verified_hash
    FOR NO KEY UPDATE;
    has_hash := FOUND;
    IF NOT EXISTS (
        SELECT FROM public.active_session AS session WHERE session.token_jti = jti AND session.user_id = caller_id
    ) THEN
        RETURN;
    END IF;

    IF NOT has_hash THEN
        outcome := 'other hash';
        RETURN NEXT;
        RETURN;
    END IF;
    -- Sent twice, the statement finds the token that it has created.
    SELECT created.id, created.created_at, created.expires_at
    INTO id, created_at, expires_at
    FROM public.session AS created
    WHERE created.token_jti = token_hash;
    IF FOUND THEN
        outcome := 'done';
    ELSIF (
        SELECT count(*) >= 20
        FROM public.active_session AS token
        WHERE token.user_id = caller_id AND token.kind = 'token'
    ) THEN
        outcome := 'too many';
    ELSE
        INSERT INTO public.session AS created (
            user_id, token_jti, token, created_at, expires_at, kind, name, scope
        )
        VALUES (
            caller_id, token_hash, token_hash, right_now, right_now + make_interval(days => days), 'token', token_name, token_scope
        )
        RETURNING created.id, created.created_at, created.expires_at
        INTO id, created_at, expires_at;
        outcome := 'done';
    END IF;
    PERFORM public.refund_login_attempt(caller_id, address_key, from_known_address);
    RETURN NEXT;
END
$$;
