#!/bin/sh
# A name has a higher number than it needs: no damage.
set -e
damage "$1" dirent /linked key+1
