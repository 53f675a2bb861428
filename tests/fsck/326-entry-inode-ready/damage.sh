#!/bin/sh
# A name leads to an inode that was never used.
set -e
damage "$1" dirent /files/small ino=900
