#!/bin/sh
# A file has no name, and no block is left for lost+found.
set -e
damage "$1" extent /files/small 0 pblk=1625 nr_blocks=2471
damage "$1" dirent /dirs/second remove
