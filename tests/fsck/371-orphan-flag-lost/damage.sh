#!/bin/sh
# An orphan on the list does not say so.
# base: orphan
set -e
head=$(damage get "$1" super orphan_head)
damage "$1" inode "$head" flags=0
