#!/bin/sh
# A fifo with a tree.
set -e
damage "$1" inode /others/fifo fork_format=btree fork.root=2000
