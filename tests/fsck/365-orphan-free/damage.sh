#!/bin/sh
# The orphan list leads to a free inode.
set -e
damage "$1" super state=0 orphan_head=149
