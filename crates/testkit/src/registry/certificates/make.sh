#!/bin/sh
# Makes the certificates of the test registry again. Their keys are no secret: nothing but tests trusts the authority.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=galley test authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$work/authority.key" -out authority.pem 2>/dev/null

# NAME SUBJECT-ALTERNATIVE-NAMES NOT-BEFORE NOT-AFTER
leaf() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=galley test registry" \
        -keyout "$1.key" -out "$work/$1.csr" 2>/dev/null
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=%s\n' \
        "$2" >"$work/extensions"
    : >"$work/index"
    cat >"$work/ca.conf" <<CONF
[ca]
default_ca = test
[test]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
CONF
    openssl ca -batch -notext -config "$work/ca.conf" -cert authority.pem -keyfile "$work/authority.key" \
        -extfile "$work/extensions" -startdate "$3" -enddate "$4" -in "$work/$1.csr" -out "$1.pem" 2>/dev/null
}
names=DNS:localhost,IP:127.0.0.1,DNS:registry.example
leaf local $names 20200101000000Z 21200101000000Z
leaf other-name DNS:other.example 20200101000000Z 21200101000000Z
leaf expired $names 20200101000000Z 20210101000000Z
