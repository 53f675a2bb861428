#!/bin/sh
# A name leads to an inode that does not exist.
set -e
damage "$1" dirent /files/small ino=99999
