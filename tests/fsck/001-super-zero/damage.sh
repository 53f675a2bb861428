#!/bin/sh
# The superblock is zeros, and one group has no copy of it.
set -e
damage "$1" super zero
