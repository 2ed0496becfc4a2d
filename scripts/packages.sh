# shellcheck shell=bash
#
# Installs missing programs with the system's package manager.

# Ensures that each tool is installed. The package manager is only called for
# missing tools.
need() {
  local tool missing=
  for tool in "$@"; do
    [ -z "$tool" ] || "has_$tool" || missing="$missing $tool"
  done
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086
  install_packages $missing
  for tool in $missing; do
    "has_$tool" || die "$tool is still missing after the installation."
  done
}

has_compiler() { have cc; }
has_make() { have make; }
has_openssl() { have openssl; }
has_curl() { have curl; }
has_ps() { have ps; }
has_postgres() { system_programs system >/dev/null; }
# The pinned server reads it, and contains no copy.
has_tzdata() { [ -e /usr/share/zoneinfo/UTC ]; }
has_taskset() { have taskset; }
has_pgbouncer() { pgbouncer_program >/dev/null; }
has_chromium() { chromium_program >/dev/null; }
# The version that Playwright requires.
has_node() { have npm && version_is_at_least 20 "$(node --version 2>/dev/null | tr -d v)"; }
# On other systems, the tests that trace system calls are skipped.
has_strace() { [ "$(uname)" != Linux ] || have strace; }
# A minimal perl lacks modules that the build of OpenSSL needs.
has_perl() { perl -MFindBin -MFile::Compare -MIPC::Cmd -MTime::Piece -e 1 2>/dev/null; }
# Debian packages these two modules separately.
has_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

install_packages() {
  local manager packages command
  manager=$(package_manager) || die "Missing: $*. Install them, then run this again."
  packages=$(packages_with "$manager" "$@")
  case $manager in
    brew) command="brew install $packages" ;;
    apk) command="apk add $packages" ;;
    *) command="$manager install -y $packages" ;;
  esac
  if [ "$manager" != brew ] && [ "$(id -u)" != 0 ] && ! have sudo; then
    die "Missing: $*. As root, run: $command"
  fi
  step "Installing: $packages"
  # The words come from this script, and are meant to be split.
  # shellcheck disable=SC2086
  case $manager in
    apt-get) install_with_apt $packages ;;
    brew) $command ;;
    *) as_root $command ;;
  esac || die "The installation failed. Run this yourself, then try again: $command"
}

package_manager() {
  local manager
  for manager in apt-get dnf apk brew; do
    if have "$manager"; then
      echo "$manager"
      return
    fi
  done
  return 1
}

packages_with() {
  local manager=$1 tool packages=
  shift
  for tool in "$@"; do
    case $manager:$tool in
      apt-get:compiler) packages+=' gcc libc6-dev' ;;
      apt-get:python) packages+=' python3 python3-venv' ;;
      apt-get:node) packages+=' nodejs npm' ;;
      apt-get:postgres) packages+=' postgresql' ;;
      apt-get:ps) packages+=' procps' ;;
      apt-get:taskset | dnf:taskset | apk:taskset) packages+=' util-linux' ;;
      dnf:compiler) packages+=' gcc' ;;
      dnf:node) packages+=' nodejs nodejs-npm' ;;
      dnf:perl) packages+=' perl-core' ;;
      dnf:python) packages+=' python3' ;;
      dnf:postgres) packages+=' postgresql-server' ;;
      dnf:ps) packages+=' procps-ng' ;;
      apk:compiler) packages+=' build-base linux-headers' ;;
      apk:python) packages+=' python3' ;;
      apk:node) packages+=' nodejs npm' ;;
      apk:postgres) packages+=' postgresql postgresql-client' ;;
      apk:ps) packages+=' procps' ;;
      brew:compiler) packages+=' gcc' ;;
      brew:node) packages+=' node' ;;
      *:node) packages+=' nodejs' ;;
      brew:postgres) packages+=' postgresql@17' ;;
      *) packages+=" $tool" ;;
    esac
  done
  echo "${packages# }"
}

install_with_apt() {
  local settings=/etc/postgresql-common/createcluster.d status=0
  as_root apt-get update -qq || true
  # Debian's PgBouncer starts a service unless its unit was masked before. The unit
  # can be unmasked if the service is wanted.
  case " $* " in *' pgbouncer '*) ! have systemctl || as_root systemctl --quiet mask pgbouncer.service ;; esac
  # Debian's PostgreSQL creates and starts a cluster, unless this setting forbids it.
  as_root mkdir -p "$settings"
  echo 'create_main_cluster = false' | as_root tee "$settings/dev.conf" >/dev/null
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >/dev/null || status=$?
  as_root rm -f "$settings/dev.conf"
  as_root rmdir -p --ignore-fail-on-non-empty "$settings"
  return "$status"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}
