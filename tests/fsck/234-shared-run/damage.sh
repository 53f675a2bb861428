#!/bin/sh
# A file's run of blocks reaches into others.
set -e
damage "$1" extent /files/three 0 "pblk=$(damage get "$1" extent /files/one 0 pblk)"
damage "$1" extent /files/three 1 "pblk=$(damage get "$1" extent /files/one 0 pblk)"
