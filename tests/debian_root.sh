#!/bin/sh
# The root file system of a small Debian, for tests that bring up devices: debian_root.sh FOLDER. Needs root, mmdebstrap and a Debian mirror.
set -eu
folder=$1
suite=bookworm
mirror=${JETSPECT_DEBIAN_MIRROR:-http://deb.debian.org/debian}
if [ "$(id -u)" != 0 ]; then
    echo "A Debian root is made and entered as root. Run: sudo sh tests/debian_root.sh $folder" >&2
    exit 1
fi
rm -rf "$folder" "$folder.part"
# What an Ubuntu of JetPack has and these tests use; manuals and translations would only take time to unpack.
mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,systemd,openssh-server,sudo,ca-certificates \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' "$suite" "$folder.part" "$mirror"
mv "$folder.part" "$folder"
