#!/bin/sh
# More free blocks than blocks.
set -e
damage "$1" super free_blocks=1000000
