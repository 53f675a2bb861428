#!/bin/sh
# A bit of the header flipped.
set -e
damage -k "$1" group 0 free_blocks+4
