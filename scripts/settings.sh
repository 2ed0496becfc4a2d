# shellcheck shell=bash
#
# The settings: .env, the CA bundle and SECRET_KEY.

# Reads .env, by python-dotenv. Environment variables override it.
read_env_file() {
  local variable name complete=
  [ -f .env ] || return 0
  with_lock setup need python
  with_lock setup need_dotenv
  step "Reading .env"
  while IFS= read -r -d '' variable; do
    name=${variable%%=*}
    if [ "$variable" = end ]; then
      complete=yes
    elif [ -n "${!name+set}" ]; then
      continue
    elif [ "$name" = SSL_CERT_FILE ]; then
      use_ca_file "${variable#*=}"
    else
      export "$name=${variable#*=}"
    fi
  done < <("$state/dotenv/bin/python3" "$project/scripts/read_env.py" .env "$project/.env.example")
  # Otherwise the reader has said what is wrong.
  [ "$complete" ] || exit 1
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
