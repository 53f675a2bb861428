#!/bin/sh
# A node of a tree of height 2 is met twice.
set -e
root=$(damage get "$1" inode /files/tree fork.root)
leaf=$(damage get "$1" tree /files/tree 0 "rec[2].child")
damage "$1" block "$leaf" copy="$root"
damage "$1" block "$leaf" head.block="$leaf" level=2 nr=2 "rec[0].child=$root" "rec[1].child=$root" "rec[1].key=700"
damage "$1" block "$root" nr=2
damage "$1" inode /files/tree fork.root="$leaf" fork.height=2
