#!/bin/sh
# A time has two seconds of nanoseconds.
set -e
damage "$1" inode /files/small mtime_ns=2000000000
