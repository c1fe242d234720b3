#!/bin/sh
# System parts that the tests run for real. Installs them with apt when root, otherwise says what to run.
set -eu
PATH="$PATH:/usr/sbin"
missing=""
command -v mosquitto >/dev/null 2>&1 || missing="$missing mosquitto"
# Networks that tests cut: ip, unshare, nsenter.
command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
command -v unshare >/dev/null 2>&1 || missing="$missing util-linux"
# For the stub libraries that TensorRT's Python bindings are imported on.
command -v gcc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing
else
    echo "The tests need:$missing. Install with: sudo apt-get install$missing" >&2
    exit 1
fi
