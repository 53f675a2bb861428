#!/bin/sh
# A bit of the block of a long symbolic link flipped.
set -e
damage -k "$1" target /others/long @100=55
