#!/bin/sh
# An extent is in the wrong leaf.
set -e
damage "$1" tree /files/tree 2 "rec[0].lblk=1"
