#!/bin/sh
# A node leads past the end of the disk.
set -e
damage "$1" tree /files/tree 0 "rec[2].child:ones"
