#!/bin/sh
# A name is longer than its entry.
set -e
damage "$1" dirent /files/small name_bytes=200
