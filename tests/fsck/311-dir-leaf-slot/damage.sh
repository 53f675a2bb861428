#!/bin/sh
# A slot leads outside of the heap.
set -e
damage "$1" tree /files 0 "slot[2]=5"
