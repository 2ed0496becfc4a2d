-- Rate limits: failed logins, and registrations.
--
-- One row counts the attempts on one thing: an account, an address, or the two together. Keys of addresses, and of email
-- addresses that no account has, are HMACs that the functions compute. A row that has expired means the same as none.

CREATE TABLE public.attempt (
    key               bytea PRIMARY KEY,
    -- The account that the row is about: its rows are deleted with it.
    user_id           integer REFERENCES public."user" (id) ON DELETE CASCADE,
    -- Attempts in the current window, and when it started. The limit is not stored: a changed one takes effect at once.
    used              integer NOT NULL,
    window_started_at timestamptz NOT NULL,
    last_used_at      timestamptz NOT NULL,
    -- How many windows reached their limit in a row. Each makes the next wait longer.
    strikes           integer NOT NULL DEFAULT 0,
    -- Until when the address counts as one from which the account's owner has logged in.
    known_until       timestamptz,
    expires_at        timestamptz NOT NULL
);

CREATE INDEX idx_attempt_user_id ON public.attempt (user_id);

-- When a window ends. A window that has reached its limit ends one window after its last attempt, at the first time; two
-- at the second; and four from the third time on. From an address that the owner is known by, the wait does not grow.
CREATE FUNCTION public.attempt_window_end(
    attempt public.attempt, max_attempts integer, window_length interval
) RETURNS timestamptz
LANGUAGE sql STABLE
RETURN CASE
    WHEN (attempt).used < max_attempts THEN (attempt).window_started_at + window_length
    WHEN (attempt).known_until > now() THEN (attempt).last_used_at + window_length
    ELSE (attempt).last_used_at + window_length * power(2, least((attempt).strikes, 2))
END;

-- Counts one attempt on each key, or on none: returns NULL where it was counted, and otherwise the seconds to wait.
--
-- keys, user_ids and max_attempts belong together, element by element. An attempt that is refused writes nothing.
CREATE FUNCTION public.consume_attempt(
    keys bytea[], user_ids integer[], max_attempts integer[], window_length interval
) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    blocked_until timestamptz;
    attempted_at timestamptz;
BEGIN
    -- First without locks, for those that are refused anyway. Then with all rows locked, in one order: of attempts at the
    -- same time, each sees what the one before it has counted.
    FOR round IN 1..2 LOOP
        attempted_at := clock_timestamp();
        SELECT max(public.attempt_window_end(attempt, bucket.max_attempts, window_length))
        INTO blocked_until
        FROM unnest(keys, max_attempts) AS bucket (key, max_attempts)
        JOIN public.attempt ON attempt.key = bucket.key
        WHERE attempt.used >= bucket.max_attempts
          AND attempt.expires_at > attempted_at
          AND public.attempt_window_end(attempt, bucket.max_attempts, window_length) > attempted_at;
        IF blocked_until IS NOT NULL THEN
            RETURN ceil(extract(epoch FROM blocked_until - attempted_at));
        END IF;
        EXIT WHEN round = 2;

        INSERT INTO public.attempt (key, user_id, used, window_started_at, last_used_at, expires_at)
        SELECT bucket.key, bucket.user_id, 0, attempted_at, attempted_at, attempted_at + interval '1 day'
        FROM unnest(keys, user_ids) AS bucket (key, user_id)
        ORDER BY bucket.key
        ON CONFLICT (key) DO NOTHING;
        PERFORM FROM public.attempt WHERE attempt.key = ANY (keys) ORDER BY attempt.key FOR UPDATE;
    END LOOP;

    UPDATE public.attempt
    SET used = CASE WHEN is_over THEN 1 ELSE attempt.used + 1 END,
        window_started_at = CASE WHEN is_over THEN attempted_at ELSE attempt.window_started_at END,
        last_used_at = attempted_at,
        strikes = CASE WHEN attempt.expires_at <= attempted_at THEN 0
                       WHEN is_over AND attempt.used >= bucket.max_attempts THEN attempt.strikes + 1
                       ELSE attempt.strikes END,
        expires_at = greatest(attempt.known_until, attempted_at + interval '1 day')
    FROM unnest(keys, max_attempts) AS bucket (key, max_attempts)
    JOIN public.attempt AS locked ON locked.key = bucket.key
    CROSS JOIN LATERAL (
        SELECT locked.expires_at <= attempted_at
            OR public.attempt_window_end(locked, bucket.max_attempts, window_length) <= attempted_at
    ) AS attempt_window (is_over)
    WHERE attempt.key = bucket.key;
    RETURN NULL;
END
$$;

-- The keys of an account's rows. What is stored for an account is found by its id, however the email address was spelled.
CREATE FUNCTION public.account_attempt_key(account_id integer) RETURNS bytea
LANGUAGE sql IMMUTABLE
RETURN int4send(account_id);

-- Counts an attempt to log in: against the account, the address, and the two together. The functions call it before they
-- verify the password, and public.refund_login_attempt when it was right.
--
-- account_id is NULL where no account has the email address: then email_key stands for it, so that the answers are the
-- same. An address from which the owner has logged in is not blocked by what others do to the account.
CREATE FUNCTION public.consume_login_attempt(
    account_id integer,
    email_key bytea,
    address_key bytea,
    max_per_account_and_address integer,
    max_per_account integer,
    max_per_address integer
) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account_key bytea := coalesce(public.account_attempt_key(account_id), email_key);
    pair_key bytea := account_key || address_key;
    window_length constant interval := interval '15 minutes';
BEGIN
    -- The account is locked before its rows, as a deletion does it, so that the two cannot wait for each other.
    PERFORM FROM public."user" WHERE id = account_id FOR KEY SHARE;
    IF EXISTS (SELECT FROM public.attempt WHERE key = pair_key AND known_until > now()) THEN
        RETURN public.consume_attempt(
            ARRAY[pair_key, address_key],
            ARRAY[account_id, NULL],
            ARRAY[max_per_account_and_address, max_per_address],
            window_length
        );
    END IF;
    RETURN public.consume_attempt(
        ARRAY[pair_key, account_key, address_key],
        ARRAY[account_id, account_id, NULL],
        ARRAY[max_per_account_and_address, max_per_account, max_per_address],
        window_length
    );
END
$$;

-- Takes back what public.consume_login_attempt has counted: the password was right. From then on the address is known as
-- one of the owner's, for 90 days.
CREATE FUNCTION public.refund_login_attempt(account_id integer, address_key bytea) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account_key bytea := public.account_attempt_key(account_id);
    pair_key bytea := account_key || address_key;
    was_known boolean := EXISTS (SELECT FROM public.attempt WHERE key = pair_key AND known_until > now());
BEGIN
    INSERT INTO public.attempt (key, user_id, used, window_started_at, last_used_at, expires_at)
    VALUES (pair_key, account_id, 0, now(), now(), now())
    ON CONFLICT (key) DO NOTHING;
    PERFORM FROM public.attempt WHERE key IN (pair_key, account_key, address_key) ORDER BY key FOR UPDATE;
    UPDATE public.attempt
    SET used = 0, strikes = 0, known_until = now() + interval '90 days', expires_at = now() + interval '90 days'
    WHERE key = pair_key;
    UPDATE public.attempt
    SET used = used - 1
    WHERE used > 0 AND (key = address_key OR (key = account_key AND NOT was_known));
END
$$;

-- Counts a registration from an address.
CREATE FUNCTION public.consume_registration_attempt(address_key bytea, max_per_address integer) RETURNS integer
LANGUAGE sql VOLATILE
RETURN public.consume_attempt(ARRAY[address_key], ARRAY[NULL::integer], ARRAY[max_per_address], interval '1 hour');
