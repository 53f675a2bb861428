#!/bin/sh
# A directory's node has lost its last records.
set -e
damage "$1" tree /dirs/many 0 nr=2
