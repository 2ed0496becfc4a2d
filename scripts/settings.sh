# shellcheck shell=bash
#
# The settings: .env, the CA bundle and SECRET_KEY.

# Reads KEY=VALUE lines. They are parsed, not sourced, so that a password may
# contain a `$`. Environment variables override them.
read_env_file() {
  local line key value number=0
  local blank='^[[:space:]]*(#.*)?$'
  local setting='^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$'
  [ -f .env ] || return 0
  step "Reading .env"
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line%$'\r'}
    [[ $line =~ $blank ]] && continue
    [[ $line =~ $setting ]] || die ".env, line $number: this is not KEY=VALUE."
    key=${BASH_REMATCH[2]}
    value=$(unquoted "${BASH_REMATCH[3]}") || die ".env, line $number: a quote is not closed."
    if [ -n "${!key+set}" ]; then
      continue
    elif [ "$key" = SSL_CERT_FILE ]; then
      use_ca_file "$value"
    else
      export "$key=$value"
    fi
  done <.env
}

unquoted() {
  local value=$1
  local quoted='^("([^"]*)"|'\''([^'\'']*)'\'')[[:space:]]*(#.*)?$'
  if [[ $value =~ $quoted ]]; then
    value=${BASH_REMATCH[2]}${BASH_REMATCH[3]}
  else
    case $value in \"* | \'*) return 1 ;; '#'*) value= ;; esac
    value=${value%%[[:space:]]#*}
    value=${value%"${value##*[![:space:]]}"}
  fi
  printf '%s' "$value"
}

# SSL_CERT_FILE is for the functions. cargo reads it too, and on some systems
# would then not trust any registry.
use_ca_file() {
  local bundle
  bundle=$(ca_bundle)
  [ -z "$bundle" ] || export CARGO_HTTP_CAINFO="${CARGO_HTTP_CAINFO:-$bundle}"
  export SSL_CERT_FILE=$1
}

# The CA bundle that is in use so far.
ca_bundle() {
  local file
  for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -f "$file" ]; then
      echo "$file"
      return
    fi
  done
}

use_secret_key() {
  local file=$state/secret-key
  [ -z "${SECRET_KEY+set}" ] || return 0
  if [ ! -s "$file" ]; then
    step "Creating a SECRET_KEY in .dev/secret-key"
    write_secret "$file"
  fi
  SECRET_KEY=$(cat "$file")
  export SECRET_KEY
}

write_secret() { (umask 077 && openssl rand -hex 32 >"$1"); }
