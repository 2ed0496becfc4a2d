# shellcheck shell=bash
#
# The programs of PostgreSQL.

# The folder with the programs of PostgreSQL, of this major version or of the
# newest. All are taken from one folder, because those in PATH may be wrappers.
server_programs() {
  local folder
  folder=$(installed_servers | sort -s -r -n -k 1,1 | awk -v version="${1:-}" '
    (version == "" || version == $1) && !found { found = 1; sub(/^[0-9]+ /, ""); print }')
  [ -n "$folder" ] && echo "$folder"
}

# Prints a line `VERSION FOLDER` for each.
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
  if server=$(server_programs) && [ -x "$server/psql" ]; then
    echo "$server/psql"
  else
    command -v psql || die "psql is missing; install the PostgreSQL client."
  fi
}
