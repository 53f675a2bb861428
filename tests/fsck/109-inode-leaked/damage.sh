#!/bin/sh
# A free inode is marked as used.
set -e
damage "$1" bit inode 150 set
