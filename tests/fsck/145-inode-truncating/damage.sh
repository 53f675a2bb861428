#!/bin/sh
# A file says that it is being cut short.
set -e
damage "$1" inode /files/one flags=truncating
