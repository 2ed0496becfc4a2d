# shellcheck shell=bash
#
# ./dev lint: everything that is checked without running the project.

run_linters() {
  local kind=${1:-all}
  [ $# -le 1 ] || refuse_arguments "${@:2}"
  case $kind in
    all | rust | template | workflows | dependencies | shell) ;;
    *) refuse_usage "lint takes rust, template, workflows, dependencies or shell, not '$kind'" ;;
  esac
  # The quick ones are first.
  case $kind in all | shell) lint_shell ;; esac
  case $kind in all | workflows) lint_workflows ;; esac
  case $kind in all | template) lint_template ;; esac
  case $kind in all | rust) lint_rust ;; esac
  case $kind in all | dependencies) lint_dependencies ;; esac
}

lint_shell() {
  local scripts=(.ci/run .github/neon-branch)
  with_lock setup need python
  with_lock setup need_lint_tools
  step "Linting the shell scripts"
  "$lint_tools/shellcheck" "${scripts[@]}"
  # With the files that it reads, because they use each other's variables.
  "$lint_tools/shellcheck" --external-sources --check-sourced dev
  "$lint_tools/shfmt" --indent 2 --case-indent --diff dev scripts/*.sh "${scripts[@]}"
}

lint_workflows() {
  with_lock setup need python
  with_lock setup need_lint_tools
  step "Linting the workflows"
  "$lint_tools/zizmor" --offline --persona auditor --strict-collection --no-progress --quiet .
  "$lint_tools/actionlint" -shellcheck "$lint_tools/shellcheck" .github/workflows/*.yml
}

lint_template() {
  with_lock setup need python
  with_lock setup need_sam
  with_lock setup need_parliament
  validate_template
  check_deployment_policy
}

validate_template() {
  step "Validating and linting template.yaml"
  "$state/sam/bin/sam" validate --lint "$@"
}

# The policy for the role that deploys: the only JSON in the document.
check_deployment_policy() {
  step "Checking the IAM policy in docs/deployment.md"
  awk '/^```json$/ { inside = 1; next } /^```$/ { inside = 0 } inside' docs/deployment.md |
    PYTHONWARNINGS=ignore "$state/parliament/bin/parliament" || die "parliament found the problems above in the IAM policy in docs/deployment.md."
}

lint_rust() {
  with_lock setup need_build_tools
  step "Checking the format of the Rust code"
  cargo fmt --all --check
  step "Linting the Rust code (cargo clippy)"
  cargo clippy --locked --workspace --all-targets -- -D warnings
  step "Building the documentation of the Rust code (cargo doc)"
  RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
}

# All rules of deny.toml except the advisories, which need the network.
lint_dependencies() {
  with_lock setup need_build_tools
  with_lock setup need_dependency_tools
  step "Checking the dependencies"
  cargo deny --locked check --deny warnings bans licenses sources
  quietly cargo machete --skip-target-dir
}
