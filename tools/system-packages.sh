#!/bin/sh
# Each argument is PROGRAM:PACKAGE. Missing programs are installed where that is possible (Debian, as root);
# elsewhere the command to type is printed and the exit code says so.
set -eu
missing=""
for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -z "$missing" ] && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of packages
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "The tests need these packages: apt-get install$missing" >&2
    exit 1
fi
