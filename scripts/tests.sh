# shellcheck shell=bash
#
# ./dev test, soak and test-database.

run_tests() {
  local kind=all packaged= selection=(-p shared -p tests)
  if [ "${1:-}" = --packaged ]; then
    packaged=yes
    shift
  fi
  case ${1:-} in
    unit)
      kind=unit selection=(-p shared)
      shift
      ;;
    browser)
      kind=browser selection=()
      shift
      ;;
    openapi | client)
      kind=$1 selection=()
      shift
      refuse_arguments "$@"
      ;;
    package | logs) refuse_usage "the tests of '$1' run as a part of ./dev package and ./dev test" ;;
    *)
      if [ -n "${1:-}" ] && { [ -f "tests/tests/$1.rs" ] || [ -d "tests/tests/$1" ]; }; then
        kind=$1 selection=(-p tests --test "$1")
        shift
      fi
      ;;
  esac

  if [ "$kind" = all ] || [ "$kind" = browser ]; then
    with_lock setup need_browser
  fi

  if [ "$kind" = all ] || [ "$kind" = project ]; then
    with_lock setup need python
    with_lock setup need_sam
  fi

  if [ "$kind" = unit ]; then
    with_lock setup need_build_tools
  elif { [ "$kind" = api ] || [ "$kind" = browser ]; } && [ -n "${BASE_URL:-}" ]; then
    with_lock setup need_build_tools
    step "Testing the API at $BASE_URL"
  else
    keep_logs
    prepare_tests "$packaged" ${selection[@]+"${selection[@]}"}
    step "Running the tests"
  fi
  # More than there are cores: most tests wait for other processes.
  export RUST_TEST_THREADS=${RUST_TEST_THREADS:-6}
  case $kind in all | openapi) part "openapi" test_document ;; esac
  case $kind in all | client) part "client" test_client ;; esac
  [ "${#selection[@]}" = 0 ] || part "the tests in Rust" cargo test --no-fail-fast "${selection[@]}" -- "$@"
  case $kind in all | browser) part "browser" test_page "$@" ;; esac
  if [ -n "${POOLED_DATABASE_URL:-}" ] && { [ "$kind" = all ] || [ "$kind" = api ]; }; then
    DATABASE_URL=$POOLED_DATABASE_URL serve_tests pooled-api
    step "Running the tests of the API by way of PgBouncer"
    part "api by way of PgBouncer" cargo test -p tests --test api -- "$@"
  fi
  case $kind in all | api | functions | openapi | client) part "logs" check_logs "$@" ;; esac
  [ "${#failed[@]}" = 0 ] || die "Some tests failed, as shown above: $(joined "${failed[@]}")"
}

# Runs a part of the tests. If it fails, `failed` names it, and the next part runs.
# This does not use `run`, because bash ignores errors within a command whose
# status is tested.
failed=()
part() {
  local name=$1 child status=0
  shift
  "$@" &
  child=$!
  children="$children $child"
  wait "$child" || status=$?
  children=${children%" $child"}
  [ "$status" = 0 ] || failed+=("$name")
}

prepare_tests() {
  local packaged=$1
  shift
  take_lock test
  with_lock setup need_build_tools python openssl ps curl strace
  with_lock setup need_test_server
  with_lock setup need_cargo_lambda
  # Also for `cargo lambda watch`, as in `./dev up`.
  build --bins
  if [ "$packaged" ]; then
    with_lock setup need_zig
    build_release --bins
    export FUNCTIONS=$release_folder
  fi
  if [ $# -gt 0 ]; then
    step "Building the tests"
    cargo test --no-run "$@"
  fi
  with_lock setup use_test_database
  SECRET_KEY=${SECRET_KEY:-$(openssl rand -hex 32)}
  export SECRET_KEY
  # All tests use one address, and some fail to log in.
  export MAX_FAILED_LOGINS_PER_ADDRESS=1000000 MAX_REGISTRATIONS_PER_ADDRESS=1000000
  apply_migrations
  [ -z "${BASE_URL:-}" ] || note "BASE_URL is ignored: only ./dev test api and ./dev test browser test a deployment."
  serve_tests api
}

use_test_database() {
  if [ -n "${DATABASE_URL+set}" ]; then
    step "Using the database of DATABASE_URL"
    unset POOLED_DATABASE_URL POOLED_OWNER_DATABASE_URL
    return
  fi
  use_throwaway_database
  start_pooler "$throwaway_cluster"
  # A test uses this to restart the database.
  export DEV_SCRIPT=$project/dev
}

serve_tests() {
  local port log=$TEST_LOGS/$1.log deadline=$((SECONDS + 120)) server
  port=$(free_port $((20000 + RANDOM % 10000)))
  export BASE_URL=http://127.0.0.1:$port
  step "Serving the API for the tests on $BASE_URL (log: .dev/test-logs/$1.log)"
  cargo lambda watch --ignore-changes --invoke-address 127.0.0.1 --invoke-port "$port" >"$log" 2>&1 &
  server=$!
  children="$children $server"
  until curl --fail --silent --output /dev/null --max-time 10 "$BASE_URL/health" && kill -0 "$server" 2>/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$server" 2>/dev/null; then
      tail -n 40 "$log" >&2
      die "The API does not answer. The end of .dev/test-logs/$1.log is shown above."
    fi
    sleep 0.2
  done
}

test_document() {
  with_lock setup need_schemathesis
  step "Testing the API against openapi.yaml"
  PYTHONDONTWRITEBYTECODE=1 "$state/schemathesis/bin/schemathesis" \
    --config-file tests/openapi/schemathesis.toml run openapi.yaml --url "$BASE_URL"
}

# In a copy, so that the installed and generated files are in .dev.
test_client() {
  local client=$state/client
  with_lock setup need node
  step "Testing a TypeScript client that is generated from openapi.yaml"
  mkdir -p "$client"
  cp tests/client/* "$client"
  npm ci --prefix "$client" --silent --no-audit --no-fund
  (
    cd "$client"
    npx --no-install openapi-typescript "$project/openapi.yaml" --default-non-nullable=false -o api.d.ts
    npx --no-install tsc
  )
  node "$client/keep-tasks.js"
  node "$client/stay-logged-in.js"
}

test_page() {
  step "Opening the page at /docs in Chromium"
  CHROMIUM=$(chromium_program) npm --prefix tests/browser test -- ${1:+"--test-name-pattern=$1"}
}

# Makes all functions log to a folder, at the most verbose level.
keep_logs() {
  make_test_logs
  export AWS_LAMBDA_LOG_LEVEL=trace
}

make_test_logs() {
  make_state_folder
  export TEST_LOGS=$state/test-logs
  rm -rf "$TEST_LOGS"
  mkdir "$TEST_LOGS"
}

# Tests that are chosen by name may call no function, and log nothing.
check_logs() {
  step "Looking for secrets in the logs of all functions"
  cargo test --quiet -p tests --test logs -- ${1:+no_log_contains_a_secret}
}

soak() {
  [ $# -le 2 ] || refuse_arguments "${@:3}"
  export SOAK_REQUESTS=${1:-20000} SOAK_SECONDS=${2:-60}
  [[ $SOAK_REQUESTS =~ ^[1-9][0-9]{0,6}$ ]] || refuse_usage "'$SOAK_REQUESTS' is not a number of requests"
  [[ $SOAK_SECONDS =~ ^[1-9][0-9]{0,3}$ ]] || refuse_usage "'$SOAK_SECONDS' is not a number of seconds"
  run_tests functions soak
}

control_test_database() {
  local cluster
  cluster=$(cluster_folder test-postgres)
  cluster_exists "$cluster" || die "No ./dev test with a database of its own is running."
  case ${1:-} in
    stop) stop_cluster "$cluster" "${2:-fast}" ;;
    start)
      rm -f "$cluster/data/standby.signal"
      # PostgreSQL then starts as the replica of a primary that it never hears of.
      [ "${2:-}" != replica ] || as_server_account touch "$cluster/data/standby.signal"
      start_cluster "$cluster" "$(cluster_port "$cluster")"
      ;;
    *) refuse_usage "test-database takes stop or start" ;;
  esac
}
