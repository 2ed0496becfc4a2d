# shellcheck shell=bash
#
# PgBouncer, for the tests: a pooler in transaction mode, like Neon's.

# Starts PgBouncer for a running cluster, for the tests: a pooler in transaction
# mode, like Neon's. Its files are in the cluster's folder, and it ends with this script.
start_pooler() {
  local cluster=$1 folder=$1/pooler port place deadline=$((SECONDS + 10)) pooler
  port=$(free_port $((17432 + RANDOM % 1000)))
  mkdir -m 700 "$folder"
  # A copy, because the account that runs PgBouncer may not be able to enter .dev.
  cp "$tls/ca.crt" "$folder/ca.crt"
  pooler_settings "$cluster" "$port" >"$folder/pgbouncer.ini"
  (umask 077 && pooler_users "$cluster" >"$folder/users")
  give_to_server_account "$folder"

  step "Starting PgBouncer on localhost:$port"
  as_server_account "$(pgbouncer_program)" "$folder/pgbouncer.ini" >"$folder/log" 2>&1 &
  pooler=$!
  children="$children $pooler"
  until port_is_taken "$port" && kill -0 "$pooler" 2>/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$pooler" 2>/dev/null; then
      tail -n 20 "$folder/log" >&2
      die "PgBouncer did not start. The end of its log is shown above."
    fi
    sleep 0.1
  done

  # Without channel_binding, which PgBouncer does not support.
  place="localhost:$port/$database_name?sslmode=verify-full"
  export POOLED_DATABASE_URL="${DATABASE_URL%@*}@$place"
  export POOLED_OWNER_DATABASE_URL="${DATABASE_URL_UNPOOLED%@*}@$place"
}

pooler_settings() {
  local cluster=$1 port=$2
  cat <<SETTINGS
[databases]
* = host=127.0.0.1 port=$(cluster_port "$cluster")

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
pool_mode = transaction
max_client_conn = 400
default_pool_size = 10
auth_type = scram-sha-256
auth_file = $cluster/pooler/users
client_tls_sslmode = require
client_tls_cert_file = $cluster/data/server.crt
client_tls_key_file = $cluster/data/server.key
server_tls_sslmode = verify-full
server_tls_ca_file = $cluster/pooler/ca.crt
# A test restarts the cluster.
server_login_retry = 1
SETTINGS
  # Older versions have no such setting, and never support prepared statements.
  ! version_is_at_least 1.21.0 "$(pooler_version)" || echo "max_prepared_statements = 0"
}

pooler_version() { "$(pgbouncer_program)" --version | awk '$1 == "PgBouncer" { print $2 }'; }

# In plain text, because PgBouncer also logs in at the server with them.
pooler_users() {
  printf '"%s" "%s"\n' \
    "$application_role" "$(cat "$1/application-password")" \
    "$database_owner" "$(cat "$1/owner-password")"
}

# On Debian it is in a folder that is only in the PATH of root.
pgbouncer_program() {
  command -v pgbouncer || { [ -x /usr/sbin/pgbouncer ] && echo /usr/sbin/pgbouncer; }
}
