#!/bin/sh
# The header says that the block bitmap is not initialised.
set -e
damage "$1" group 0 flags=0
