#!/bin/sh
# A name leads to a free inode.
set -e
damage "$1" dirent /files/empty ino=150
