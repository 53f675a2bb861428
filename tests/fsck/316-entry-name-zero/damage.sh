#!/bin/sh
# A name has a zero.
set -e
damage "$1" dirent /files/small @20=00
