#!/bin/sh
# The header counts more blocks than the group has.
set -e
damage "$1" group 0 nr_blocks+1
