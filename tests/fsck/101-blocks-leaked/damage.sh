#!/bin/sh
# Three runs of free blocks are marked as used.
set -e
damage "$1" bit block 3000 set
damage "$1" bit block 3001 set
damage "$1" bit block 3500 set
damage "$1" bit block 4095 set
