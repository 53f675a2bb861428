#!/bin/sh
# The header of a group that was never used is zeros.
# base: groups
set -e
damage "$1" group 1 zero
