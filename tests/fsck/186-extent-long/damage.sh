#!/bin/sh
# An extent reaches past the end of the disk.
set -e
damage "$1" extent /files/one 0 nr_blocks=1000000
