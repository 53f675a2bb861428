#!/bin/sh
# A block of a file is marked as free.
set -e
damage "$1" bit block "$(damage get "$1" extent /files/small 0 pblk)" clear
