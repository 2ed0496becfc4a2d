# shellcheck shell=bash
#
# The database that a command works on, and the commands for it: down, reset, psql,
# migrate, verify, catalog.

# Empty if DATABASE_URL was set by the user.
database_is_local=

# These two install a server, unless the database is that of DATABASE_URL.
need_local_server() { [ -n "${DATABASE_URL+set}" ] || need_server "$(cluster_folder postgres)"; }

need_test_server() {
  if [ -z "${DATABASE_URL+set}" ]; then
    need pgbouncer
    need_server
  fi
}

use_database() {
  if [ -n "${DATABASE_URL+set}" ]; then
    step "Using the database of DATABASE_URL"
  else
    use_local_database
  fi
}

use_local_database() {
  local cluster
  cluster=$(cluster_folder postgres)
  cluster_exists "$cluster" || make_cluster "$cluster"
  start_cluster "$cluster" 55432
  [ -s "$cluster/application-password" ] || upgrade_cluster "$cluster"
  use_cluster "$cluster"
}

# The functions connect as a role that owns no objects. The migrations create it
# with the password in DATABASE_URL, and run as the owner.
use_cluster() {
  local application owner place name
  database_is_local=yes
  for name in DATABASE_URL_UNPOOLED APPLICATION_ROLE; do
    # Otherwise the migrations would use that database or that role.
    [ -z "${!name:-}" ] || note "$name is ignored: it needs a DATABASE_URL."
  done
  application=$application_role:$(cat "$1/application-password")
  owner=$database_owner:$(cat "$1/owner-password")
  place="localhost:$(cluster_port "$1")/$database_name?sslmode=verify-full&channel_binding=require"
  export DATABASE_URL="postgresql://$application@$place"
  export DATABASE_URL_UNPOOLED="postgresql://$owner@$place"
  export APPLICATION_ROLE=$application_role
  export ALLOW_LOCAL_DATABASE=true
  use_ca_file "$tls/ca.crt"
}

use_throwaway_database() {
  throwaway_cluster=$(cluster_folder test-postgres)
  remove_cluster "$throwaway_cluster"
  make_cluster "$throwaway_cluster" "fsync = off" "synchronous_commit = off" "full_page_writes = off"
  # Below the ports that systems give to outgoing connections, as all ports that are chosen at random.
  start_cluster "$throwaway_cluster" $((16432 + RANDOM % 1000))
  use_cluster "$throwaway_cluster"
}

stop_local_database() {
  local cluster
  refuse_arguments "$@"
  cluster=$(cluster_folder postgres)
  if cluster_is_running "$cluster"; then
    step "Stopping PostgreSQL on localhost:$(cluster_port "$cluster")"
    stop_cluster "$cluster"
  else
    step "PostgreSQL is not running"
  fi
}

reset_local_database() {
  refuse_arguments "$@"
  with_lock setup need_build_tools python openssl ps
  with_lock setup need_server "$(cluster_folder postgres)"
  with_lock setup need_psql
  build --bin migrate
  with_lock setup use_local_database
  step "Emptying the local database"
  psql_on_database_url "$(psql_program)" --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname postgres \
    --command "DROP DATABASE IF EXISTS $database_name WITH (FORCE)" \
    --command "CREATE DATABASE $database_name"
  apply_migrations
}

open_psql() {
  local program
  read_env_file
  with_lock setup need_build_tools openssl ps
  with_lock setup need_local_server
  with_lock setup need_psql
  build --quiet --bin migrate
  with_lock setup use_database
  program=$(psql_program)
  cd "$called_from" # so that `-f FILE` is relative to the caller's folder
  with_ca_bundle_for_psql exec_migrate --psql "$program" "$@"
}

psql_on_database_url() { with_ca_bundle_for_psql run_migrate --psql "$@"; }

# The URL is read as the functions read it: libpq reads some passwords in another way.
with_ca_bundle_for_psql() {
  local bundle
  bundle=$(ca_bundle)
  PGSSLROOTCERT=${bundle:-system} "$@"
}

migrate_database() {
  read_env_file
  with_lock setup need_build_tools openssl ps
  with_lock setup need_local_server
  build --bin migrate
  with_lock setup use_database
  run_migrate "$@"
}

verify_database() {
  refuse_arguments "$@"
  migrate_database --verify
}

# Never from an existing database: its schema may differ from what the migrations create.
regenerate_catalog() {
  local new=$state/catalog.txt applied newest
  refuse_arguments "$@"
  [ -z "${DATABASE_URL+set}" ] ||
    die "catalog creates a database of its own. Unset DATABASE_URL, then run this again."
  take_lock test
  with_lock setup need_build_tools python openssl ps
  with_lock setup need_server
  with_lock setup need_psql
  build --bin migrate
  with_lock setup use_throwaway_database
  step "Applying the migrations"
  # It fails if the schema differs from the old catalog, so the history decides whether all were applied.
  run_migrate || note "This is expected if the migrations are newer than sql/catalog.txt."
  newest=$(printf '%s\n' sql/V*__*.sql | sed 's/^sql\/V\([0-9]*\)__.*/\1/' | sort -n | tail -n 1)
  applied=$(psql_on_database_url "$(psql_program)" --no-psqlrc --no-align --tuples-only \
    --command 'SELECT max(version) FROM public.refinery_schema_history')
  [ "$applied" = "$newest" ] || die "The migrations were applied up to version ${applied:-0}, not $newest."
  step "Writing sql/catalog.txt"
  # To another file first, so that a failure keeps the old catalog.
  run_migrate --print-catalog >"$new"
  mv "$new" sql/catalog.txt
}
