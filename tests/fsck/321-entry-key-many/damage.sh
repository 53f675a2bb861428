#!/bin/sh
# A name in a large directory has a key that leads elsewhere.
set -e
damage "$1" dirent "/dirs/many/a name so long that a leaf of the directory does not have many, number 087" key=0x7000000000000000
