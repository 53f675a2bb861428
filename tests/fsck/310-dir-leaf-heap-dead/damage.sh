#!/bin/sh
# A leaf counts dead bytes that are not there.
set -e
damage "$1" tree /files 0 heap_dead=64
