#!/bin/sh
# The header has an unknown flag.
set -e
damage "$1" group 0 flags=5
