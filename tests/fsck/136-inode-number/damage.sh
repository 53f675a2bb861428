#!/bin/sh
# An inode has another's number.
set -e
damage "$1" inode /files/small ino=7
