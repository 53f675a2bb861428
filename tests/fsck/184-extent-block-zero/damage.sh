#!/bin/sh
# An extent begins at block 0.
set -e
damage "$1" extent /files/small 0 pblk=0
