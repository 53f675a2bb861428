#!/bin/sh
# The superblock counts more blocks than the disk has.
# base: groups
set -e
damage "$1" super nr_blocks+1000000
