#!/bin/sh
# A name leads to inode 0.
set -e
damage "$1" dirent /files/small ino=0
