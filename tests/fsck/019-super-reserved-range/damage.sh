#!/bin/sh
# More reserved blocks than blocks.
set -e
damage "$1" super reserved_blocks:ones
