#!/bin/sh
# A device has no name.
set -e
damage "$1" dirent /others/char remove
