# shellcheck shell=bash
#
# Local PostgreSQL clusters.
#
# A cluster is a folder with data/ (its PGDATA), the passwords of its roles, its
# last port and its log. It accepts only TLS connections with SCRAM authentication,
# and has no Unix socket.

database_name=todo
database_owner=todo_owner
application_role=todo_app

# The account that runs PostgreSQL if this script runs as root, since root may not.
# It is looked up each time, because a package of the system may create it.
server_account() {
  [ "$(id -u)" != 0 ] || id -un postgres 2>/dev/null || echo nobody
}

as_server_account() { as_account "$(server_account)" "$@"; }

# Runs a command as an account, or as the present one if it is empty.
as_account() {
  local account=$1
  shift
  (
    cd / # every account may enter this folder
    if [ -z "$account" ]; then
      "$@"
    elif have runuser; then
      runuser -u "$account" -- "$@"
    else
      su -s "$BASH" "$account" -c "$(printf '%q ' "$@")"
    fi
  )
}

give_to_server_account() {
  local account
  account=$(server_account)
  [ -z "$account" ] || chown -R "$account:" "$@"
}

# The folder for clusters and pinned servers: .dev, unless the account that runs
# PostgreSQL cannot enter that, for example in a home folder with mode 0700.
server_home() {
  local home=$state
  make_state_folder
  if ! as_server_account test -x "$state"; then
    home=/var/tmp/todo-dev-$(printf '%s' "$project" | cksum | cut -d ' ' -f 1)
    mkdir -m 755 "$home" 2>/dev/null || { [ -O "$home" ] && [ ! -L "$home" ]; } ||
      die "$home belongs to another user; remove it."
    ln -sfn "$home" "$state/clusters"
  fi
  echo "$home"
}

cluster_folder() {
  local home
  home=$(server_home)
  echo "$home/$1"
}

make_cluster() {
  local cluster=$1 new=$1.new data=$1.new/data server locale=C
  shift
  server=$(server_programs "${POSTGRES:-$postgres_default}")
  step "Creating a PostgreSQL cluster in $cluster"
  case $cluster in
    "$state"/*) ;;
    *) note "It is there because the account $(server_account), which runs PostgreSQL, cannot enter $project." ;;
  esac
  # An interrupted run may have left a part of it.
  rm -rf "$new" "$cluster"
  mkdir -m 700 "$new"
  write_secret "$new/superuser-password"
  write_secret "$new/owner-password"
  write_secret "$new/application-password"
  give_to_server_account "$new"
  if locale -a 2>/dev/null | grep -qix 'c\.utf-\{0,1\}8'; then locale=C.UTF-8; fi

  quietly as_server_account "$server/initdb" --pgdata="$data" --encoding=UTF8 --locale="$locale" \
    --username=postgres --pwfile="$new/superuser-password" --auth=scram-sha-256
  server_settings "$@" >>"$data/postgresql.conf"
  cat >"$data/pg_hba.conf" <<'HBA'
hostssl all all 127.0.0.1/32 scram-sha-256
hostssl all all ::1/128      scram-sha-256
HBA
  database_statements "$(cat "$new/owner-password")" |
    quietly as_server_account "$server/postgres" --single -D "$data" -c exit_on_error=on -c log_min_error_statement=panic postgres
  mv "$new" "$cluster"
}

server_settings() {
  cat <<'SETTINGS'
listen_addresses = 'localhost'
unix_socket_directories = ''
max_connections = 200
ssl = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
SETTINGS
  [ $# -eq 0 ] || printf '%s\n' "$@"
}

# One statement per line, as single-user mode requires. As on Neon, the owner may
# create databases and roles. It may also end the sessions of others; otherwise it
# could not drop a database to which the application role is connected.
database_statements() {
  cat <<SQL
CREATE ROLE $database_owner LOGIN CREATEDB CREATEROLE IN ROLE pg_signal_backend PASSWORD '$1';
CREATE DATABASE $database_name OWNER $database_owner;
SQL
}

# Upgrades a cluster that was made before there was an application role.
upgrade_cluster() {
  need_psql
  step "Letting $database_owner create the role $application_role"
  PGPASSWORD=$(cat "$1/superuser-password") PGSSLMODE=verify-full PGSSLROOTCERT=$tls/ca.crt \
    quietly "$(psql_program)" --no-psqlrc --set ON_ERROR_STOP=1 \
    --host localhost --port "$(cluster_port "$1")" --username postgres --dbname postgres \
    --command "ALTER ROLE $database_owner CREATEROLE" \
    --command "GRANT pg_signal_backend TO $database_owner"
  write_secret "$1/application-password"
}

cluster_exists() { [ -f "$1/data/PG_VERSION" ]; }

# The server writes its process id at every start. After a crash, another program
# may have the same id.
cluster_is_running() {
  local process
  process=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) || return 1
  ps -p "$process" -o args= 2>/dev/null | grep -qF -- "$1/data"
}

# The account that has started a cluster, if this script runs as root.
cluster_account() {
  # shellcheck disable=SC2012 # stat has other options on macOS, and the name of the folder is known
  if [ "$(id -u)" = 0 ]; then ls -ld "$1/data" | awk '{ print $3 }'; fi
}

cluster_port() { cat "$1/port"; }

start_cluster() {
  local cluster=$1 port=$2 attempt server
  server=$(server_of_cluster "$cluster")
  make_certificates "$cluster"
  if cluster_is_running "$cluster"; then
    step "PostgreSQL is running on localhost:$(cluster_port "$cluster")"
    return
  fi
  [ ! -f "$cluster/port" ] || port=$(cluster_port "$cluster")
  # The account is another one if a package has created it since the last start.
  give_to_server_account "$cluster"
  # Several attempts: another program may take the port at this moment, and the
  # processes of a killed server need a moment to end.
  for attempt in 1 2 3 4 5; do
    [ "$attempt" = 1 ] || sleep 1
    port=$(free_port "$port")
    step "Starting PostgreSQL on localhost:$port"
    echo "$port" >"$cluster/port"
    : >"$cluster/log"
    give_to_server_account "$cluster/log"
    if as_server_account "$server/pg_ctl" start -w -D "$cluster/data" -l "$cluster/log" -o "-p $port" >/dev/null 2>&1; then
      return
    fi
  done
  tail -n 20 "$cluster/log" >&2
  die "PostgreSQL did not start. The end of $cluster/log is shown above."
}

stop_cluster() { control_cluster "$1" stop -w -m "${2:-fast}"; }

control_cluster() {
  local cluster=$1 server
  shift
  server=$(server_of_cluster "$cluster")
  quietly as_account "$(cluster_account "$cluster")" "$server/pg_ctl" "$@" -D "$cluster/data"
}

remove_cluster() {
  if cluster_is_running "$1"; then stop_cluster "$1" immediate; fi
  rm -rf "$1" "$1.new"
}

server_of_cluster() {
  local version
  version=$(cat "$1/data/PG_VERSION")
  server_programs "$version" ||
    die "$1 was made by PostgreSQL $version, which is not installed. Install it, or remove that folder."
}
