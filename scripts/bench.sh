# shellcheck shell=bash
#
# ./dev bench.

# The functions log as in a deployment. The baseline has a package of its own,
# because a build of the tests enables more features of some crates.
run_benchmark() {
  local arguments=("$@") system_certificates
  if [ "${1:-}" = --quick ]; then shift; fi
  refuse_arguments "$@"
  [ "$(uname)" = Linux ] || die "The benchmark reads CPU and memory from /proc, which exists only on Linux."
  take_lock test
  with_lock setup need_build_tools python openssl ps taskset
  with_lock setup need_test_server
  with_lock setup need_argon2
  with_lock setup need_cargo_lambda
  with_lock setup need_zig
  build_release -p functions -p baseline --bins
  export FUNCTIONS=$release_folder
  step "Building the benchmark"
  cargo bench -p tests --bench performance --no-run
  make_test_logs
  system_certificates=$(ca_bundle)
  with_lock setup use_test_database
  SECRET_KEY=${SECRET_KEY:-$(openssl rand -hex 32)}
  export SECRET_KEY
  step "Measuring"
  SYSTEM_CERT_FILE=$system_certificates run cargo bench -p tests --bench performance -- ${arguments[@]+"${arguments[@]}"}
}
