#!/bin/sh
# The header counts one free block too few.
set -e
damage "$1" group 0 free_blocks-1
