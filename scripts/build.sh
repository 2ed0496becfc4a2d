# shellcheck shell=bash
#
# Builds the functions, and applies the migrations.

# Without a package, as `cargo lambda watch` builds. So every dependency has the
# same features, and the first request finds its binary.
build() {
  step "Building (cargo build $*)"
  cargo build "$@"
}

build_for_lambda() {
  step "Building for Lambda (cargo lambda build --release $*)"
  cargo lambda build --release "$@"
}

# The release build that is packaged and measured, and its folder. Systems other
# than Linux cannot run it, and use a release build of their own.
build_release() {
  release_folder=${CARGO_TARGET_DIR:-$project/target}/lambda
  case $(uname -sm) in
    'Linux aarch64') build_for_lambda --arm64 "$@" ;;
    Linux*) build_for_lambda "$@" ;;
    *)
      build --release "$@"
      release_folder=${CARGO_TARGET_DIR:-$project/target}/release
      ;;
  esac
}

run_migrate() {
  cargo run --quiet --bin migrate -- "$@"
}

# Instead of this script, in the current folder.
exec_migrate() { exec cargo run --quiet --manifest-path "$project/Cargo.toml" --bin migrate -- "$@"; }

# A database of the user is migrated only if it is empty. Others need ./dev migrate.
apply_migrations() {
  step "Applying the migrations"
  if [ "$database_is_local" ]; then
    run_migrate
  else
    run_migrate --if-empty
  fi
}
