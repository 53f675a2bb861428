#!/bin/sh
# Bits past the group's last inode are clear.
set -e
damage "$1" block 12 @193=f0
