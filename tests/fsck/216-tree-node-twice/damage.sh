#!/bin/sh
# A node leads to the same leaf twice.
set -e
damage "$1" tree /files/tree 0 "rec[2].child=$(damage get "$1" tree /files/tree 0 "rec[1].child")"
