#!/bin/sh
# The superblock counts one free block too many.
set -e
damage "$1" super free_blocks+1
