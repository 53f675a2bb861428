#!/bin/sh
# Two files have the same tree.
set -e
damage "$1" inode /files/leaf "fork.root=$(damage get "$1" inode /files/tree fork.root)" fork.height=1
