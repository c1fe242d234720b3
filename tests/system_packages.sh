#!/bin/sh
# System parts that the tests run for real. Installs them with apt when root, otherwise says what to run.
set -eu
PATH="$PATH:/usr/sbin"
missing=""
has() { command -v "$1" >/dev/null 2>&1; }
typelib() { ls /usr/lib/*/girepository-1.0/"$1".typelib /usr/lib/girepository-1.0/"$1".typelib 2>/dev/null | grep -q .; }
gst_plugin() { ls /usr/lib/*/gstreamer-1.0/libgst"$1".so 2>/dev/null | grep -q .; }

has mosquitto || missing="$missing mosquitto"
# Certificates, a server with an old TLS, and mosquitto's own pins are made with it.
has openssl || missing="$missing openssl"
# A database server for the archive.
{ has postgres || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; } || missing="$missing postgresql"
# For the CUDA kernels on the processor, the stub libraries that TensorRT's Python bindings are imported on, and PyGObject.
has g++ || missing="$missing g++ libc6-dev"
# PyGObject has no wheel: pip builds it from these.
has pkg-config || missing="$missing pkg-config"
pkg-config --exists gobject-introspection-1.0 2>/dev/null || missing="$missing libgirepository1.0-dev"
pkg-config --exists cairo 2>/dev/null || missing="$missing libcairo2-dev"
# A GigE Vision camera on loopback, and Aravis.
has arv-fake-gv-camera-0.8 || missing="$missing aravis-tools"
typelib Aravis-0.8 || missing="$missing gir1.2-aravis-0.8"
# GStreamer with what its tests play, and an RTSP server.
typelib GstApp-1.0 || missing="$missing gir1.2-gst-plugins-base-1.0"
typelib GstRtspServer-1.0 || missing="$missing gir1.2-gst-rtsp-server-1.0"
gst_plugin videotestsrc || missing="$missing gstreamer1.0-plugins-base"
gst_plugin rtsp || missing="$missing gstreamer1.0-plugins-good"
# Networks that tests cut: ip, unshare, nsenter.
has ip || missing="$missing iproute2"
has unshare || missing="$missing util-linux"
# systemd's own judgement of units, users and folders; nothing of it has to run.
has systemd-analyze || missing="$missing systemd"
# A small Debian to bring up devices in.
has mmdebstrap || missing="$missing mmdebstrap"
# The way into it, as Ansible takes it.
{ has ssh && has ssh-keygen; } || missing="$missing openssh-client"

[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && has apt-get; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing
else
    echo "The tests need:$missing. Install with: sudo apt-get install$missing" >&2
    exit 1
fi
