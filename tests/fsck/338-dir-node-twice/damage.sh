#!/bin/sh
# A directory's node leads to the same leaf twice.
set -e
damage "$1" tree /dirs/many 0 "rec[1].child=$(damage get "$1" tree /dirs/many 0 "rec[2].child")"
