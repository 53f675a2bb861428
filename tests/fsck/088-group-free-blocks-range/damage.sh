#!/bin/sh
# The header counts more free blocks than blocks.
set -e
damage "$1" group 0 free_blocks:ones
