#!/bin/sh
# The header of the only group is zeros.
set -e
damage "$1" group 0 zero
