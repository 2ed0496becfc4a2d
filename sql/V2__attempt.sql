-- Guesses at passwords, and registrations, as they are counted: a row for each account, each address, and each pair of
-- the two. What stands behind a key is not told, and a row that has expired means the same as none.
CREATE TABLE attempt (
    -- SHA-256 of what is counted.
    key            bytea PRIMARY KEY,
    -- How many more there may be in this window; at zero no more until its end.
    remaining      integer NOT NULL,
    window_ends_at timestamptz NOT NULL,
    -- How often it came to that; each time the wait is longer.
    strikes        integer NOT NULL DEFAULT 0,
    -- Until when an address is one that the account's owner has logged in from.
    known_until    timestamptz,
    expires_at     timestamptz NOT NULL
);
