# shellcheck shell=bash
#
# Tools of pinned versions, which are installed into .dev.

cargo_lambda_version=1.9.2
sam_version=1.170.0
# Links the packages against the C library of Lambda's operating system.
zig_version=0.13.0.post1
zizmor_version=1.32.0
schemathesis_version=4.32.5
cargo_deny_version=0.20.2
cargo_machete_version=0.9.2
# Wraps the reference implementation of Argon2, for the benchmark.
argon2_cffi_version=25.1.0

need_build_tools() {
  need_rust
  need compiler make perl "$@"
}

need_rust() {
  local wanted found
  if ! have cargo && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then PATH=$HOME/.cargo/bin:$PATH; fi
  wanted=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' Cargo.toml)
  found=$(rustc --version 2>/dev/null | awk '{ print $2 }') || true
  if ! have cargo || [ -z "$found" ]; then
    die "Rust is missing. Install it from https://rustup.rs, then run this again."
  fi
  version_is_at_least "$wanted" "$found" ||
    die "Rust $wanted or later is needed; $found is installed. Try: rustup update stable"
}

need_cargo_lambda() {
  local tools=$state/tools
  PATH=$tools/bin:$PATH
  if [ "$("$tools/bin/cargo-lambda" lambda --version 2>/dev/null | awk '{ print $2 }')" = "$cargo_lambda_version" ]; then
    return
  fi
  step "Installing cargo-lambda $cargo_lambda_version into .dev/tools"
  python3 -m venv --clear "$tools"
  # Without ziglang, its only dependency, which is for cross builds.
  "$tools/bin/python3" -m pip install --quiet --disable-pip-version-check --no-deps "cargo-lambda==$cargo_lambda_version"
}

# SAM; Zig, with which cargo-lambda links the packages; and zizmor, which checks
# the workflows.
need_deployment_tools() {
  local tools=$state/deployment-tools
  local packages=("aws-sam-cli==$sam_version" "ziglang==$zig_version" "zizmor==$zizmor_version")
  export PATH=$tools/bin:$PATH SAM_CLI_TELEMETRY=0
  # SAM requires a region even if it calls no service.
  export AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1}
  if [ "$(cat "$tools/packages" 2>/dev/null)" = "${packages[*]}" ]; then
    return
  fi
  step "Installing SAM $sam_version, Zig and zizmor into .dev/deployment-tools"
  python3 -m venv --clear "$tools"
  "$tools/bin/python3" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
  echo "${packages[*]}" >"$tools/packages"
}

# cargo-deny, and cargo-machete, which finds unused dependencies. They are built
# without optimisation, because that is faster and they only run for seconds.
need_dependency_tools() {
  local tools=$state/dependency-tools
  local crates=("cargo-deny@$cargo_deny_version" "cargo-machete@$cargo_machete_version")
  export PATH=$tools/bin:$PATH
  if [ "$(cat "$tools/crates" 2>/dev/null)" = "${crates[*]}" ]; then
    return
  fi
  step "Building cargo-deny and cargo-machete into .dev/dependency-tools"
  CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --profile dev --root "$tools" "${crates[@]}"
  echo "${crates[*]}" >"$tools/crates"
}

# A Python with argon2-cffi, the binding of the reference implementation of Argon2.
need_argon2() {
  local tools=$state/argon2 package=argon2-cffi==$argon2_cffi_version
  export ARGON2_PYTHON=$tools/bin/python3
  if [ "$(cat "$tools/package" 2>/dev/null)" = "$package" ]; then
    return
  fi
  step "Installing argon2-cffi $argon2_cffi_version into .dev/argon2"
  python3 -m venv --clear "$tools"
  "$ARGON2_PYTHON" -m pip install --quiet --disable-pip-version-check "$package"
  echo "$package" >"$tools/package"
}

# Chromium, and Playwright, which controls it.
need_browser() {
  local folder=tests/browser
  need node chromium
  if ! cmp -s "$folder/package-lock.json" "$folder/node_modules/installed-lock.json"; then
    step "Installing Playwright into $folder/node_modules"
    npm --prefix "$folder" ci --no-audit --no-fund --loglevel=error >&2
    cp "$folder/package-lock.json" "$folder/node_modules/installed-lock.json"
  fi
}

chromium_program() {
  local name
  for name in chromium chromium-browser google-chrome; do
    if command -v "$name"; then return; fi
  done
  return 1
}

need_schemathesis() {
  local tools=$state/schemathesis package=schemathesis==$schemathesis_version
  [ "$(cat "$tools/packages" 2>/dev/null)" != "$package" ] || return 0
  step "Installing Schemathesis $schemathesis_version into .dev/schemathesis"
  python3 -m venv --clear "$tools"
  "$tools/bin/python3" -m pip install --quiet --disable-pip-version-check "$package"
  echo "$package" >"$tools/packages"
}
