#!/bin/sh
# Two files have the same blocks, and no room is left for copies.
set -e
damage "$1" extent /files/small 0 pblk=2000 nr_blocks=2000
damage "$1" extent /files/three 1 pblk=2000 nr_blocks=2000
damage "$1" extent /files/three 2 lblk=2002
