#!/bin/sh
# Extents of an inode are out of order.
set -e
damage "$1" extent /files/three 0 lblk=8
