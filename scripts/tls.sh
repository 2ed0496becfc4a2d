# shellcheck shell=bash
#
# A CA for this project, and the certificate of the local PostgreSQL.

tls=$state/tls

# Creates a CA for this project, and the server's certificate in its data folder.
# Each is replaced when it expires within a week.
make_certificates() {
  local cluster=$1 data=$1/data
  if ! lasts_a_week "$tls/ca.crt"; then
    step "Creating a CA for local TLS in .dev/tls"
    make_ca
  fi
  if ! lasts_a_week "$data/server.crt" || ! openssl verify -CAfile "$tls/ca.crt" "$data/server.crt" >/dev/null 2>&1; then
    step "Creating the certificate of localhost"
    make_server_certificate "$data"
    if cluster_is_running "$cluster"; then control_cluster "$cluster" reload; fi
  fi
}

lasts_a_week() { [ -f "$1" ] && openssl x509 -checkend 604800 -noout -in "$1" >/dev/null 2>&1; }

make_ca() {
  rm -rf "$tls"
  mkdir "$tls"
  cat >"$tls/openssl.cnf" <<'CONFIG'
[req]
distinguished_name = name
prompt = no
[name]
CN = Local CA of ./dev
[ca]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONFIG
  make_key "$tls/ca.key"
  quietly openssl req -x509 -new -sha256 -days 3650 -config "$tls/openssl.cnf" -extensions ca \
    -key "$tls/ca.key" -out "$tls/ca.crt.new"
  mv "$tls/ca.crt.new" "$tls/ca.crt"
}

make_server_certificate() {
  local data=$1
  # The certificate is replaced last, so that it always matches its key.
  rm -f "$data/server.crt"
  make_key "$tls/server.key"
  quietly openssl req -new -sha256 -config "$tls/openssl.cnf" -subj /CN=localhost \
    -key "$tls/server.key" -out "$tls/server.csr"
  quietly openssl x509 -req -sha256 -days 825 -set_serial "0x01$(openssl rand -hex 8)" \
    -extfile "$tls/openssl.cnf" -extensions server -CA "$tls/ca.crt" -CAkey "$tls/ca.key" \
    -in "$tls/server.csr" -out "$tls/server.crt"
  give_to_server_account "$tls/server.key" "$tls/server.crt"
  mv "$tls/server.key" "$data/server.key"
  mv "$tls/server.crt" "$data/server.crt"
  rm "$tls/server.csr"
}

make_key() { (umask 077 && quietly openssl ecparam -name prime256v1 -genkey -noout -out "$1"); }
