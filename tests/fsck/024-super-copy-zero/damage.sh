#!/bin/sh
# The copy of the superblock is zeros.
# base: groups
set -e
damage "$1" block 262145 zero
