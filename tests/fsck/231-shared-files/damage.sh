#!/bin/sh
# Two files have the same block.
set -e
damage "$1" extent /files/three 1 "pblk=$(damage get "$1" extent /files/small 0 pblk)"
