#!/bin/sh
# A name has no bytes.
set -e
damage "$1" dirent /files/small name_bytes=0
