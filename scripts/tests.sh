# shellcheck shell=bash
#
# ./dev test, soak and test-database.

run_tests() {
  local kind=all selection=(-p shared -p tests)
  if [ "${1:-}" = unit ]; then
    kind=unit selection=(-p shared)
    shift
  elif [ "${1:-}" = browser ]; then
    kind=browser selection=()
    shift
  elif [ "${1:-}" = openapi ] || [ "${1:-}" = client ]; then
    kind=$1 selection=()
    shift
    refuse_arguments "$@"
  elif [ -n "${1:-}" ] && { [ -f "tests/tests/$1.rs" ] || [ -d "tests/tests/$1" ]; }; then
    kind=$1 selection=(-p tests --test "$1")
    shift
  fi

  if [ "$kind" = all ] || [ "$kind" = browser ]; then
    with_lock setup need_browser
  fi

  if [ "$kind" = unit ]; then
    with_lock setup need_build_tools
  elif { [ "$kind" = api ] || [ "$kind" = browser ]; } && [ -n "${BASE_URL:-}" ]; then
    with_lock setup need_build_tools
    step "Testing the API at $BASE_URL"
  else
    keep_logs
    prepare_tests ${selection[@]+"${selection[@]}"}
    step "Running the tests"
  fi
  if [ "$kind" = all ] || [ "$kind" = openapi ]; then test_document; fi
  if [ "$kind" = all ] || [ "$kind" = client ]; then test_client; fi
  # More than there are cores: most tests wait for other processes.
  export RUST_TEST_THREADS=${RUST_TEST_THREADS:-6}
  [ "${#selection[@]}" = 0 ] || run cargo test --no-fail-fast "${selection[@]}" -- "$@"
  if [ "$kind" = all ] || [ "$kind" = browser ]; then
    step "Opening the page at /docs in Chromium"
    run env CHROMIUM="$(chromium_program)" npm --prefix tests/browser test -- ${1:+"--test-name-pattern=$1"}
  fi
  if [ -n "${POOLED_DATABASE_URL:-}" ] && { [ "$kind" = all ] || [ "$kind" = api ]; }; then
    DATABASE_URL=$POOLED_DATABASE_URL serve_tests pooled-api
    step "Running the tests of the API by way of PgBouncer"
    run cargo test -p tests --test api -- "$@"
  fi
  case $kind in all | api | functions | openapi | client) check_logs "$@" ;; esac
}

prepare_tests() {
  take_lock test
  with_lock setup need_build_tools python openssl ps curl strace
  with_lock setup need_test_server
  with_lock setup need_cargo_lambda
  with_lock setup need_zig
  build_release --bins
  # For `cargo lambda watch`, as in `./dev up`.
  build --bins
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
  PYTHONDONTWRITEBYTECODE=1 run "$state/schemathesis/bin/schemathesis" \
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
  run node "$client/keep-tasks.js"
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

# Searches for the passwords of the tests and of the database.
check_logs() {
  local url found
  step "Looking for secrets in the logs of all functions"
  # Without a log line, the search proves nothing. A test that is chosen by name may call no function.
  [ $# -gt 0 ] || grep -rqF '"message":"answered"' "$TEST_LOGS" || die "No function has logged an answer."
  found=$({
    printf '%s\n' "$SECRET_KEY" 'correct horse' 'another good password' 'another password' 'the former password' 's3cret'
    for url in "$DATABASE_URL" "${DATABASE_URL_UNPOOLED:-}"; do
      url=${url#*://*:}
      [ -z "$url" ] || printf '%s\n' "${url%%@*}"
    done
  } | grep -rlFf - --exclude='*.traced' "$TEST_LOGS" || true)
  # Tokens, hashes, and connection strings with a password, except the example that shows the format.
  # shellcheck disable=SC2016 # the dollars are part of the hashes
  found+=$(grep -roE --exclude='*.traced' 'eyJ[A-Za-z0-9_-]{8}|\$argon2|\$2[abxy]\$|postgres(ql)?://[^ "]*:[^ "]*@' "$TEST_LOGS" |
    grep -v 'postgresql://role:password@$' | cut -d : -f 1 || true)
  [ -z "$found" ] || die "There is a secret in: $found"
}

soak() {
  [ $# -le 1 ] || refuse_arguments "${@:2}"
  export SOAK_REQUESTS=${1:-20000}
  [[ $SOAK_REQUESTS =~ ^[1-9][0-9]{0,6}$ ]] || refuse_usage "'$SOAK_REQUESTS' is not a number of requests"
  run_tests functions soak
}

control_test_database() {
  local cluster
  cluster=$(cluster_folder test-postgres)
  cluster_exists "$cluster" || die "No ./dev test with a database of its own is running."
  case ${1:-} in
    stop) stop_cluster "$cluster" "${2:-fast}" ;;
    start) start_cluster "$cluster" "$(cluster_port "$cluster")" ;;
    *) refuse_usage "test-database takes stop or start" ;;
  esac
}
