#!/bin/sh
# A short symbolic link has no target.
set -e
damage "$1" inode /others/short size=0 @128=00
