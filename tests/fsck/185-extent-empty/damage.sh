#!/bin/sh
# An extent has no blocks.
set -e
damage "$1" extent /files/three 1 nr_blocks=0
