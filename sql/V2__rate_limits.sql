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
RETURN least((attempt).expires_at, CASE
    WHEN (attempt).used < max_attempts THEN (attempt).window_started_at + window_length
    WHEN (attempt).known_until > now() THEN (attempt).last_used_at + window_length
    ELSE (attempt).last_used_at + window_length * power(2, least((attempt).strikes, 2))
END);

-- Counts one attempt on each key, or on none: returns NULL where it was counted, and otherwise the seconds to wait.
--
-- keys, user_ids and max_attempts belong together, element by element. An attempt that is refused counts on nothing.
CREATE FUNCTION public.consume_attempt(
    keys bytea[], user_ids integer[], max_attempts integer[], window_length interval
) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    attempted_at constant timestamptz := clock_timestamp();
    blocked_until timestamptz;
    existing bigint;
    counted bytea[];
BEGIN
    -- Most refusals are decided here, without a lock or a write.
    SELECT count(*),
           max(window_end) FILTER (WHERE attempt.used >= bucket.max_attempts AND window_end > attempted_at)
    INTO existing, blocked_until
    FROM unnest(keys, max_attempts) AS bucket (key, max_attempts)
    JOIN public.attempt ON attempt.key = bucket.key
    CROSS JOIN public.attempt_window_end(attempt, bucket.max_attempts, window_length) AS window_end;
    IF blocked_until IS NOT NULL THEN
        RETURN ceil(extract(epoch FROM blocked_until - attempted_at));
    END IF;

    IF existing < cardinality(keys) THEN
        -- New rows refer to the account. It is locked before them, as a deletion does it: otherwise the two could wait for
        -- each other.
        PERFORM FROM public."user" WHERE id = ANY (user_ids) FOR KEY SHARE;
    END IF;

    -- Every attempt locks its rows in the order of the keys, and sees there what the attempts before it have counted.
    WITH upserted AS (
        INSERT INTO public.attempt (key, user_id, used, window_started_at, last_used_at, expires_at)
        SELECT bucket.key, bucket.user_id, 1, attempted_at, attempted_at, attempted_at + interval '1 day'
        FROM unnest(keys, user_ids) AS bucket (key, user_id)
        ORDER BY bucket.key
        ON CONFLICT (key) DO UPDATE
        SET (used, window_started_at, strikes) = (
                SELECT CASE WHEN window_end > attempted_at THEN attempt.used + 1 ELSE 1 END,
                       CASE WHEN window_end > attempted_at THEN attempt.window_started_at ELSE attempted_at END,
                       CASE WHEN attempt.expires_at <= attempted_at THEN 0
                            WHEN attempt.used >= max_attempts[array_position(keys, attempt.key)]
                            THEN attempt.strikes + 1
                            ELSE attempt.strikes END
                FROM public.attempt_window_end(
                    attempt, max_attempts[array_position(keys, attempt.key)], window_length
                ) AS window_end
            ),
            last_used_at = excluded.last_used_at,
            expires_at = greatest(attempt.known_until, excluded.expires_at)
        WHERE attempt.used < max_attempts[array_position(keys, attempt.key)]
           OR public.attempt_window_end(
                  attempt, max_attempts[array_position(keys, attempt.key)], window_length
              ) <= attempted_at
        RETURNING attempt.key
    )
    SELECT array_agg(key) INTO counted FROM upserted;
    IF cardinality(counted) = cardinality(keys) THEN
        RETURN NULL;
    END IF;

    -- An attempt at the same time has reached a limit. This one counts on nothing; nobody has seen its counts yet.
    UPDATE public.attempt SET used = used - 1 WHERE key = ANY (counted);
    SELECT max(public.attempt_window_end(attempt, bucket.max_attempts, window_length))
    INTO blocked_until
    FROM unnest(keys, max_attempts) AS bucket (key, max_attempts)
    JOIN public.attempt ON attempt.key = bucket.key
    WHERE attempt.used >= bucket.max_attempts;
    RETURN greatest(ceil(extract(epoch FROM blocked_until - attempted_at)), 1);
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
    UPDATE public.attempt
    SET used = CASE WHEN attempt.key = pair_key THEN 0 ELSE greatest(attempt.used - 1, 0) END,
        strikes = CASE WHEN attempt.key = pair_key THEN 0 ELSE attempt.strikes END,
        known_until = CASE WHEN attempt.key = pair_key THEN now() + interval '90 days' ELSE attempt.known_until END,
        expires_at = CASE WHEN attempt.key = pair_key THEN now() + interval '90 days' ELSE attempt.expires_at END
    FROM (
        SELECT key
        FROM public.attempt
        WHERE key IN (pair_key, address_key, CASE WHEN NOT was_known THEN account_key END)
        ORDER BY key
        FOR UPDATE
    ) AS locked
    WHERE attempt.key = locked.key;
END
$$;

-- Counts a registration from an address.
CREATE FUNCTION public.consume_registration_attempt(address_key bytea, max_per_address integer) RETURNS integer
LANGUAGE sql VOLATILE
RETURN public.consume_attempt(ARRAY[address_key], ARRAY[NULL::integer], ARRAY[max_per_address], interval '1 hour');
