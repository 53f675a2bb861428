#!/bin/sh
# A file in use says that it is an orphan.
set -e
damage "$1" inode /files/small flags=orphan
