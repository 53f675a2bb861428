#!/bin/sh
# The heap of a leaf begins elsewhere.
set -e
damage "$1" tree /files 0 heap_start=4090
