# shellcheck shell=bash
#
# ./dev up: serves the API, with hot reload.

serve_locally() {
  local port=
  while [ $# -gt 0 ]; do
    case $1 in
      --port)
        [ $# -gt 1 ] || refuse_usage "--port needs a number"
        port=$2
        shift
        ;;
      --port=*) port=${1#*=} ;;
      *) refuse_usage "up does not take '$1'" ;;
    esac
    shift
  done
  read_env_file
  port=${port:-${PORT:-9000}}
  require_free_port "$port"

  with_lock setup need_build_tools python openssl ps
  with_lock setup need_local_server
  with_lock setup need_cargo_lambda
  build --bin migrate
  with_lock setup use_database
  with_lock setup use_secret_key
  step "Checking the settings"
  run_migrate --check-settings
  build --bins
  apply_migrations

  show_tour "$port"
  stop_hint=$database_is_local
  run cargo lambda watch --invoke-address 127.0.0.1 --invoke-port "$port" || true
  # cargo lambda prints nothing and exits with 0 if it cannot listen.
  die "The server stopped unexpectedly. If another program uses the port now: ./dev up --port $((port + 1))"
}

show_tour() {
  local api=http://localhost:$1
  step "Serving the API on $api"
  cat >&2 <<TOUR

    Read about the API and try it on the page $api/docs, or with these commands. Take USER_ID and ACCESS_TOKEN from
    the first answer:

    curl -X POST $api/api/auth/register -H 'Content-Type: application/json' -d '{"username": "ada", "email": "ada@example.com", "password": "analytical engine"}'
    curl -X POST $api/api/USER_ID/tasks -H 'Authorization: Bearer ACCESS_TOKEN' -H 'Content-Type: application/json' -d '{"title": "Write the first program"}'
    curl $api/api/USER_ID/tasks -H 'Authorization: Bearer ACCESS_TOKEN'

    The API is rebuilt when the code changes. Ctrl-C stops it.

TOUR
}

require_free_port() {
  if ! [[ $1 =~ ^[0-9]{1,5}$ ]] || [ "$1" -lt 1 ] || [ "$1" -gt 65535 ]; then
    refuse_usage "'$1' is not a port"
  fi
  ! port_is_taken "$1" || die "Port $1 is taken. Stop the program that uses it, or choose another port: ./dev up --port $(free_port "$1")"
}

free_port() {
  local port=$1
  while port_is_taken "$port"; do port=$((port + 1)); done
  echo "$port"
}

# Checks both addresses that `localhost` can stand for.
port_is_taken() {
  (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null || (: <>"/dev/tcp/::1/$1") 2>/dev/null
}
