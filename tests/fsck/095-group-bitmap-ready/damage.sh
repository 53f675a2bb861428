#!/bin/sh
# The header says that the bitmap of a group is initialised, but it is not.
# base: groups
set -e
damage "$1" group 1 flags=1
