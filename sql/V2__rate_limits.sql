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

-- Counts one attempt on each key, or on none: retry_after is NULL where it was counted, and otherwise the seconds to wait.
--
-- keys, user_ids and max_attempts belong together, element by element. An attempt that is refused counts on nothing.
--
-- undecided: all limits that are reached were reached within the last three seconds. The passwords of these attempts may
-- still be being verified, and those that are right are refunded.
CREATE FUNCTION public.consume_attempt(
    keys bytea[], user_ids integer[], max_attempts integer[], window_length interval,
    OUT retry_after integer, OUT undecided boolean
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    attempted_at constant timestamptz := clock_timestamp();
    existing bigint;
BEGIN
    -- Most refusals are decided here, without a lock or a write.
    SELECT count(*),
           ceil(extract(epoch FROM max(window_end) FILTER (WHERE is_reached) - attempted_at)),
           bool_and(last_used_at > attempted_at - interval '3 seconds') FILTER (WHERE is_reached)
    INTO existing, retry_after, undecided
    FROM (
        SELECT window_end, attempt.last_used_at,
               attempt.used >= bucket.max_attempts AND window_end > attempted_at AS is_reached
        FROM unnest(keys, max_attempts) AS bucket (key, max_attempts)
        JOIN public.attempt ON attempt.key = bucket.key
        CROSS JOIN LATERAL (
            SELECT public.attempt_window_end(attempt, bucket.max_attempts, window_length) AS window_end
        ) AS attempt_window
    ) AS bucket;
    IF retry_after IS NOT NULL THEN
        RETURN;
    END IF;

    -- The same once more with all rows locked, in the order of the keys: only now the counts of the attempts before this
    -- one are complete. A purge may delete a row that has expired before it is locked.
    LOOP
        IF existing < cardinality(keys) THEN
            -- New rows refer to the account. It is locked before them, as a deletion does it: otherwise the two could wait
            -- for each other.
            PERFORM FROM public."user" WHERE id = ANY (user_ids) FOR KEY SHARE;
            INSERT INTO public.attempt (key, user_id, used, window_started_at, last_used_at, expires_at)
            SELECT bucket.key, bucket.user_id, 0, attempted_at, attempted_at, attempted_at + interval '1 day'
            FROM unnest(keys, user_ids) AS bucket (key, user_id)
            ORDER BY bucket.key
            ON CONFLICT (key) DO NOTHING;
        END IF;
        SELECT count(*),
               ceil(extract(epoch FROM max(window_end) FILTER (WHERE is_reached) - attempted_at)),
               bool_and(last_used_at > attempted_at - interval '3 seconds') FILTER (WHERE is_reached)
        INTO existing, retry_after, undecided
        FROM (
            SELECT window_end, attempt.last_used_at,
                   attempt.used >= bucket.max_attempts AND window_end > attempted_at AS is_reached
            FROM unnest(keys, max_attempts) AS bucket (key, max_attempts)
            JOIN public.attempt ON attempt.key = bucket.key
            CROSS JOIN LATERAL (
                SELECT public.attempt_window_end(attempt, bucket.max_attempts, window_length) AS window_end
            ) AS attempt_window
            ORDER BY attempt.key
            FOR UPDATE OF attempt
        ) AS bucket;
        EXIT WHEN existing = cardinality(keys);
    END LOOP;
    IF retry_after IS NOT NULL THEN
        RETURN;
    END IF;

    UPDATE public.attempt
    SET used = CASE WHEN bucket.window_end > attempted_at THEN attempt.used + 1 ELSE 1 END,
        window_started_at = CASE
            WHEN bucket.window_end > attempted_at THEN attempt.window_started_at ELSE attempted_at
        END,
        strikes = CASE
            WHEN attempt.expires_at <= attempted_at THEN 0
            WHEN attempt.used >= bucket.max_attempts THEN attempt.strikes + 1
            ELSE attempt.strikes
        END,
        last_used_at = attempted_at,
        expires_at = greatest(attempt.known_until, attempted_at + interval '1 day')
    FROM (
        SELECT counted.key, bucket.max_attempts,
               public.attempt_window_end(counted, bucket.max_attempts, window_length) AS window_end
        FROM unnest(keys, max_attempts) AS bucket (key, max_attempts)
        JOIN public.attempt AS counted ON counted.key = bucket.key
    ) AS bucket
    WHERE attempt.key = bucket.key;
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
-- same. An address from which the owner has logged in (from_known_address) is not blocked by what others do to the
-- account, and its attempts do not count against the account.
CREATE FUNCTION public.consume_login_attempt(
    account_id integer,
    email_key bytea,
    address_key bytea,
    max_per_account_and_address integer,
    max_per_account integer,
    max_per_address integer,
    OUT retry_after integer,
    OUT undecided boolean,
    OUT from_known_address boolean
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account_key bytea := coalesce(public.account_attempt_key(account_id), email_key);
    pair_key bytea := account_key || address_key;
    keys bytea[] := ARRAY[pair_key, address_key, account_key];
    user_ids integer[] := ARRAY[account_id, NULL, account_id];
    max_attempts integer[] := ARRAY[max_per_account_and_address, max_per_address, max_per_account];
BEGIN
    from_known_address := EXISTS (SELECT FROM public.attempt WHERE key = pair_key AND known_until > now());
    IF from_known_address THEN
        keys := keys[1:2];
        user_ids := user_ids[1:2];
        max_attempts := max_attempts[1:2];
    END IF;
    SELECT * INTO retry_after, undecided
    FROM public.consume_attempt(keys, user_ids, max_attempts, interval '15 minutes');
END
$$;

-- Takes back what public.consume_login_attempt has counted: the password was right. From then on the address is known as
-- one of the owner's, for 90 days. from_known_address is what that function has returned.
CREATE FUNCTION public.refund_login_attempt(
    account_id integer, address_key bytea, from_known_address boolean
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account_key bytea := public.account_attempt_key(account_id);
    pair_key bytea := account_key || address_key;
BEGIN
    UPDATE public.attempt
    SET used = CASE WHEN attempt.key = pair_key THEN 0 ELSE greatest(attempt.used - 1, 0) END,
        strikes = CASE WHEN attempt.key = pair_key THEN 0 ELSE attempt.strikes END,
        known_until = CASE WHEN attempt.key = pair_key THEN now() + interval '90 days' ELSE attempt.known_until END,
        expires_at = CASE WHEN attempt.key = pair_key THEN now() + interval '90 days' ELSE attempt.expires_at END
    FROM (
        SELECT key
        FROM public.attempt
        WHERE key IN (pair_key, address_key, CASE WHEN NOT from_known_address THEN account_key END)
        ORDER BY key
        FOR UPDATE
    ) AS locked
    WHERE attempt.key = locked.key;
END
$$;

-- Deletes the rows of an account, and takes back what public.consume_login_attempt has counted on the address: the
-- password was right, and the account is being deleted. ON DELETE CASCADE would delete the rows, too, but lock them in any
-- order.
CREATE FUNCTION public.delete_account_attempts(account_id integer, address_key bytea) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.attempt WHERE user_id = account_id OR key = address_key ORDER BY key FOR UPDATE;
    UPDATE public.attempt SET used = greatest(used - 1, 0) WHERE key = address_key;
    DELETE FROM public.attempt WHERE user_id = account_id;
END
$$;

-- Counts a registration from an address: NULL where it was counted, and otherwise the seconds to wait.
CREATE FUNCTION public.consume_registration_attempt(address_key bytea, max_per_address integer) RETURNS integer
LANGUAGE sql VOLATILE
RETURN (
    SELECT retry_after
    FROM public.consume_attempt(ARRAY[address_key], ARRAY[NULL::integer], ARRAY[max_per_address], interval '1 hour')
);
