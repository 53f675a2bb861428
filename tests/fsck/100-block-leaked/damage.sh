#!/bin/sh
# A free block is marked as used.
set -e
damage "$1" bit block 4000 set
