# shellcheck shell=bash
#
# ./dev package: builds what `sam deploy` uploads.

# One run of cargo before SAM's runs links all functions in parallel. SAM runs
# cargo for one function after the other.
package_functions() {
  local stage=${1:-default}
  [ $# -le 1 ] || refuse_arguments "${@:2}"
  with_lock setup need_build_tools python
  with_lock setup need_cargo_lambda
  with_lock setup need_sam
  with_lock setup need_zig
  validate_template --config-env "$stage"
  # GET /health names it.
  COMMIT=$(git describe --always --dirty --abbrev=40 --match '' 2>/dev/null) || true
  export COMMIT
  build_for_lambda --bins
  step "Packaging the functions in .aws-sam/build"
  "$state/sam/bin/sam" build --config-env "$stage"
  step "Testing the packages"
  keep_logs
  FUNCTIONS=$project/.aws-sam/build run cargo test -p tests --test package
}
