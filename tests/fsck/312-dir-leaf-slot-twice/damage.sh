#!/bin/sh
# Two slots lead to the same entry.
set -e
damage "$1" tree /files 0 "slot[2]=$(damage get "$1" tree /files 0 "slot[1]")"
