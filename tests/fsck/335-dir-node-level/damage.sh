#!/bin/sh
# A directory's node has the wrong level.
set -e
damage "$1" tree /dirs/many 0 level=2
