#!/bin/sh
# A name leads to the root.
set -e
damage "$1" dirent /dirs/second ino=1 type=directory
