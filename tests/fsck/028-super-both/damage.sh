#!/bin/sh
# The superblock and its copy are zeros.
# base: groups
set -e
damage "$1" super zero
damage "$1" block 262145 zero
