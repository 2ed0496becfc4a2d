# shellcheck shell=bash
#
# Messages, locks and child processes, for all other files of this folder.

bold='' red='' plain=''
if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\033[1m' red=$'\033[31m' plain=$'\033[0m'
fi

# All messages go to stderr, so that the output of `./dev psql` can be piped.
step() { printf '%s==> %s%s\n' "$bold" "$*" "$plain" >&2; }

note() { printf '    %s\n' "$*" >&2; }

die() {
  printf '%sdev: %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}

refuse_usage() {
  printf '%sdev: %s.%s ./dev help lists the commands.\n' "$red" "$*" "$plain" >&2
  exit 2
}

# Joins words as in `a, b and c`.
joined() {
  local text=$1
  shift
  while [ $# -gt 1 ]; do
    text+=", $1"
    shift
  done
  echo "$text${1:+ and $1}"
}

refuse_arguments() { [ $# -eq 0 ] || refuse_usage "unexpected argument '$1'"; }

# Shows the output of a command only if it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || {
    printf '%s\n' "$output" >&2
    die "This failed: $1"
  }
}

have() { command -v "$1" >/dev/null 2>&1; }

version_is_at_least() {
  awk -v wanted="$1" -v found="$2" 'BEGIN {
    split(wanted, w, "."); split(found, f, ".")
    for (i = 1; i <= 3; i++) if (f[i] + 0 != w[i] + 0) exit f[i] + 0 < w[i] + 0
  }'
}

make_state_folder() {
  mkdir -p "$state"
  [ -O "$state" ] || die "$state belongs to another user. Run this as that user, or remove the folder."
  # The account that runs PostgreSQL has to enter it. The secrets in it have mode 0600.
  chmod 755 "$state"
}

# Keeps two runs of this script from preparing the same thing at once.
with_lock() {
  local name=$1
  shift
  take_lock "$name"
  "$@"
  release_lock "$name"
}

# A lock is a file with the process id of its holder. It is only created if it does not exist.
take_lock() {
  local lock=$state/$1.lock holder told=
  make_state_folder
  until (set -o noclobber && echo $$ >"$lock") 2>/dev/null; do
    holder=$(cat "$lock" 2>/dev/null) || true
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
      rm -f "$lock" # its holder was killed
    else
      [ "$told" ] || step "Waiting for another ./dev, process ${holder:-unknown} (if there is none: rm '$lock')"
      told=yes
      sleep 0.5
    fi
  done
}

release_lock() {
  local lock=$state/$1.lock
  if [ "$(cat "$lock" 2>/dev/null)" = $$ ]; then rm -f "$lock"; fi
}

# Processes to stop at the end, and the cluster to remove.
children=
throwaway_cluster=
stop_hint=

# Runs a command in the background, so that a signal to this script is handled at
# once and not after the command has ended.
run() {
  local child status=0
  "$@" &
  child=$!
  children="$children $child"
  wait "$child" || status=$?
  children=${children%" $child"}
  return "$status"
}

clean_up() {
  local child
  set +e
  trap '' INT TERM HUP
  for child in $children; do stop_process_tree "$child"; done
  [ -z "$throwaway_cluster" ] || (remove_cluster "$throwaway_cluster")
  [ -z "$stop_hint" ] || step "The local PostgreSQL is still running; ./dev down stops it"
  release_lock setup
  release_lock test
}

# The process stops its own children; those that are left are killed. They are
# found by a list, because `cargo lambda watch` gives each function a process group.
stop_process_tree() {
  local left deadline=$((SECONDS + 5))
  left=$(descendants "$1")
  {
    kill "$1"
    while kill -0 "$1" && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
    # shellcheck disable=SC2086
    kill -KILL "$1" $left
    wait "$1"
  } 2>/dev/null
}

descendants() {
  ps -A -o pid= -o ppid= | awk -v root="$1" '
    { parent[$1] = $2 }
    END {
      for (process in parent) {
        ancestor = parent[process]
        while (ancestor != root && ancestor > 1 && ancestor in parent) ancestor = parent[ancestor]
        if (ancestor == root) print process
      }
    }'
}
