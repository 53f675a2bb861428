#!/bin/sh
# The header says that blocks of the inode table in use are not initialised.
set -e
damage "$1" group 0 inodes_ready=30
