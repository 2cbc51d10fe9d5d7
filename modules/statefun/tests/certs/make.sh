#!/usr/bin/env bash
# Makes the certificates and keys of the tests of TLS, valid for a hundred years. They are committed, so that no
# test needs the OpenSSL that can still make the old ones (3.0, with its provider `legacy`).
set -euo pipefail
cd "$(dirname "$0")"
rm -f -- *.pem *.key password password-line
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
days=36500

ec() { openssl ecparam -name "$1" -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$2"; }
request() { openssl req -new -key "$1" -subj "/CN=$2" -out "$work/request"; }
# sign CERTIFICATE [OPTION]... < EXTENSIONS; without extensions the certificate is of version 1
sign() {
  local certificate=$1
  shift
  cat >"$work/extensions"
  local extensions=()
  if [ -s "$work/extensions" ]; then extensions=(-extfile "$work/extensions"); fi
  openssl x509 -req -in "$work/request" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial \
    -days $days "$@" "${extensions[@]}" -out "$certificate" 2>/dev/null
}

# Two authorities: ours, and one that nobody trusts.
ec prime256v1 "$work/ca.key"
openssl req -x509 -key "$work/ca.key" -days $days -subj "/CN=Dormouse test CA" -out "$work/ca.pem"
cp "$work/ca.pem" ca.pem
ec prime256v1 "$work/other.key"
openssl req -x509 -key "$work/other.key" -days $days -subj "/CN=Another CA" -out other-ca.pem

# Endpoints with certificates of our authority.
ec prime256v1 server.key
request server.key localhost
sign server.pem <<<"subjectAltName=DNS:localhost,IP:127.0.0.1"
sign server-other-name.pem <<<"subjectAltName=DNS:other.example"
sign server-without-name.pem <<<"basicConstraints=CA:FALSE"
sign server-sha1.pem -sha1 <<<"subjectAltName=DNS:localhost,IP:127.0.0.1"
openssl genrsa 2048 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -out server-v1.key
request server-v1.key localhost
sign server-v1.pem </dev/null
# The same with the wrong authority's key and our authority's name.
openssl req -x509 -key "$work/other.key" -days $days -subj "/CN=Dormouse test CA" -out "$work/false-ca.pem"
openssl x509 -req -in "$work/request" -CA "$work/false-ca.pem" -CAkey "$work/other.key" -CAcreateserial \
  -days $days -out server-v1-forged.pem 2>/dev/null

# Certificates that have expired.
touch "$work/index"
echo 01 >"$work/serial"
cat >"$work/config" <<END
[ca]
default_ca = default
[default]
database = $work/index
serial = $work/serial
new_certs_dir = $work
default_md = sha256
policy = policy
unique_subject = no
[policy]
commonName = supplied
[named]
subjectAltName = DNS:localhost,IP:127.0.0.1
END
expired() {
  openssl ca -batch -notext -config "$work/config" -cert "$work/ca.pem" -keyfile "$work/ca.key" \
    -startdate 20200101000000Z -enddate 20210101000000Z -in "$work/request" -out "$@" 2>/dev/null
}
expired server-v1-expired.pem
request server.key localhost
expired server-expired.pem -extensions named

# Endpoints that vouch for themselves: as `openssl req -x509` makes them, and of version 1 on P-384.
ec prime256v1 self.key
openssl req -x509 -key self.key -days $days -subj /CN=localhost -out self.pem
ec secp384r1 self-v1.key
request self-v1.key localhost
openssl x509 -req -in "$work/request" -signkey self-v1.key -days $days -out self-v1.pem 2>/dev/null

# A client, with its key in many forms.
openssl genrsa 2048 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -out client.key
request client.key client
sign client.pem <<<"extendedKeyUsage=clientAuth"
sign client-v1.pem </dev/null
printf 'open sesame' >password
printf 'open sesame\n' >password-line
encrypt() { openssl pkcs8 -topk8 -in client.key -passout file:password -provider legacy -provider default "$@"; }
encrypt -v2 aes-256-cbc -out client-aes.key
encrypt -v2 des3 -v2prf hmacWithSHA1 -out client-pbkdf2-sha1-3des.key
encrypt -scrypt -scrypt_N 1024 -out client-scrypt.key
encrypt -v1 PBE-SHA1-RC4-128 -out client-pbe-rc4.key
encrypt -v1 PBE-SHA1-3DES -out client-pbe-3des.key
encrypt -v1 PBE-SHA1-RC2-128 -out client-pbe-rc2.key
encrypt -v1 PBE-MD5-DES -out client-pbe-md5-des.key
openssl rsa -in client.key -aes128 -traditional -passout file:password -out client-traditional.key 2>/dev/null
