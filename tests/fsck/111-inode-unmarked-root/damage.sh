#!/bin/sh
# The root's inode is marked as free.
set -e
damage "$1" bit inode 1 clear
