-- The schema of the todo backend. Times are UTC, without a zone.

CREATE TYPE priority_enum AS ENUM ('High', 'Medium', 'Low');

CREATE TABLE "user" (
    id              serial PRIMARY KEY,
    username        varchar(30) NOT NULL UNIQUE,
    email           varchar(255) NOT NULL UNIQUE,
    hashed_password varchar(255) NOT NULL,
    -- lower(email), set by a trigger below: what makes addresses that differ by case alone one address. NULL in
    -- an adopted account whose address another, older one already has in another case.
    email_key       varchar(255) UNIQUE,
    created_at      timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    updated_at      timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')
);

CREATE INDEX idx_user_email ON "user" (email);

-- The few adopted accounts without an email_key, so that a login can see whether an address has such a twin.
CREATE INDEX idx_user_email_twin ON "user" (lower(email)) WHERE email_key IS NULL;

CREATE TABLE task (
    id                serial PRIMARY KEY,
    user_id           integer NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    title             varchar(200) NOT NULL,
    description       text,
    due_date          varchar(50),
    priority          priority_enum NOT NULL DEFAULT 'Medium',
    tags              text,
    recursion_pattern varchar(100),
    completed         boolean NOT NULL DEFAULT false,
    created_at        timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    updated_at        timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')
);

CREATE INDEX idx_task_user_id ON task (user_id);
CREATE INDEX idx_task_completed ON task (completed);

CREATE TABLE session (
    id         serial PRIMARY KEY,
    user_id    integer NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    token_jti  varchar(255) NOT NULL UNIQUE,
    token      varchar(255) NOT NULL,
    expires_at timestamp NOT NULL,
    revoked    boolean NOT NULL DEFAULT false,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')
);

CREATE INDEX idx_session_token_jti ON session (token_jti);
CREATE INDEX idx_session_user_id ON session (user_id);

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now() AT TIME ZONE 'utc';
    RETURN NEW;
END
$$;

CREATE TRIGGER update_user_updated_at BEFORE UPDATE ON "user"
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION update_updated_at_column();

CREATE TRIGGER update_task_updated_at BEFORE UPDATE ON task
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION update_updated_at_column();

CREATE FUNCTION set_user_email_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.email_key := lower(NEW.email);
    RETURN NEW;
END
$$;

CREATE TRIGGER set_user_email_key BEFORE INSERT OR UPDATE OF email ON "user"
    FOR EACH ROW EXECUTE FUNCTION set_user_email_key();
