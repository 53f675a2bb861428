#!/bin/sh
# A bit of a leaf flipped, in a file's number.
set -e
damage -k "$1" dirent /files/small ino+1
