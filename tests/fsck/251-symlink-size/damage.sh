#!/bin/sh
# A short symbolic link has the wrong size.
set -e
damage "$1" inode /others/short size=5
