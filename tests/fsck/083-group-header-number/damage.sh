#!/bin/sh
# The header is of another group.
set -e
damage "$1" group 0 group=1
