#!/bin/sh
# Two directories have the same leaf.
set -e
damage "$1" inode /dirs/few "fork.root=$(damage get "$1" inode /files fork.root)"
