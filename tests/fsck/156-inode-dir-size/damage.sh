#!/bin/sh
# A directory has the wrong size.
set -e
damage "$1" inode /dirs/many size=4096
