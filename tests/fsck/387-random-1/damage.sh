#!/bin/sh
# Nonsense in three blocks.
set -e
damage "$1" tree /dirs/many 2 random=8
damage "$1" tree /files/tree 1 random=9
damage "$1" block 14 random=7
