#!/bin/sh
# A symbolic link has no fork.
set -e
damage "$1" inode /others/short fork_format=none
