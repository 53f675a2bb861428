#!/bin/sh
# The orphan list goes on to no inode.
# base: orphan
set -e
head=$(damage get "$1" super orphan_head)
damage "$1" inode "$head" orphan_next=88888
