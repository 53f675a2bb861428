#!/bin/sh
# The group's first block is marked as free.
set -e
damage "$1" bit block 0 clear
