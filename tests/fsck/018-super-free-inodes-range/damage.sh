#!/bin/sh
# More free inodes than inodes.
set -e
damage "$1" super free_inodes=1000000
