#!/bin/sh
# The orphan list leads to no inode.
set -e
damage "$1" super state=0 orphan_head=77777
