#!/bin/sh
# A bit of a leaf flipped, in a name.
set -e
damage -k "$1" dirent /files/small name=smell
