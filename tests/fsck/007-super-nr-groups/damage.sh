#!/bin/sh
# The superblock counts no groups.
# base: groups
set -e
damage "$1" super nr_groups=0
