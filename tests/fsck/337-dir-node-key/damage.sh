#!/bin/sh
# A key of a directory's node is not what it leads to.
set -e
damage "$1" tree /dirs/many 0 "rec[2].key+0x100000000000000"
