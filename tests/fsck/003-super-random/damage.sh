#!/bin/sh
# The superblock is overwritten with nonsense.
# base: groups
set -e
damage "$1" super random=1
