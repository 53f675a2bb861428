#!/bin/sh
# The header counts one directory too few.
set -e
damage "$1" group 0 nr_dirs-1
