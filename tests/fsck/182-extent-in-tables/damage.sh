#!/bin/sh
# An extent lies in the inode table.
set -e
damage "$1" extent /files/three 1 pblk=20
