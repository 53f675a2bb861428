#!/bin/sh
# An extent is past the end of the disk.
set -e
damage "$1" extent /files/one 0 pblk=100000
