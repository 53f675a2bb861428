#!/bin/sh
# A directory counts no blocks.
set -e
damage "$1" inode /dirs/many nr_blocks=0
