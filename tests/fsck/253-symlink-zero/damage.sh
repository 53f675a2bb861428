#!/bin/sh
# A short symbolic link's target has a zero in it.
set -e
damage "$1" inode /others/short @131=00
