#!/bin/sh
# A fifo has a size.
set -e
damage "$1" inode /others/fifo size=4096
