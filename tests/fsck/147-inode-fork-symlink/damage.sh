#!/bin/sh
# A file with the fork of a symbolic link.
set -e
damage "$1" inode /files/small fork_format=symlink
