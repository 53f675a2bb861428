#!/bin/sh
# The superblock was written for another block.
# base: groups
set -e
damage "$1" super head.block=7
