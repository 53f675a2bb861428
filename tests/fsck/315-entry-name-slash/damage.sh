#!/bin/sh
# A name has a slash.
set -e
damage "$1" dirent /files/small name=sm/ll
