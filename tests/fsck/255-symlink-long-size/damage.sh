#!/bin/sh
# A long symbolic link has the wrong size.
set -e
damage "$1" inode /others/long size=299
