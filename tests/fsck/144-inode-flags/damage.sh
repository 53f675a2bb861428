#!/bin/sh
# A flag that does not exist.
set -e
damage "$1" inode /files/small flags=0x10
