#!/bin/sh
# The journal is said to be larger than its group.
# base: groups
set -e
damage "$1" super journal_blocks=1000000
