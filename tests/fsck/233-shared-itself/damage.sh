#!/bin/sh
# A file has a block twice.
set -e
damage "$1" extent /files/three 1 "pblk=$(damage get "$1" extent /files/three 0 pblk)"
