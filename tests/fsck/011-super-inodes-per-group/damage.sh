#!/bin/sh
# Inodes a group are not a multiple of 15.
# base: groups
set -e
damage "$1" super inodes_per_group+1
