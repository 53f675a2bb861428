#!/bin/sh
# A large directory's tree is higher than it says.
set -e
damage "$1" inode /dirs/many fork.height=0
