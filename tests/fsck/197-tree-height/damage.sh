#!/bin/sh
# A tree is higher than trees can be.
set -e
damage "$1" inode /files/tree fork.height=9
