# shellcheck shell=bash
#
# ./dev lint.

# All rules of deny.toml except the advisories, which need the network.
check_dependencies() {
  step "Checking the dependencies"
  cargo deny --locked check --deny warnings bans licenses sources
  quietly cargo machete --skip-target-dir
}
