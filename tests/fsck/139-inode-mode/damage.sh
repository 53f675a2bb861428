#!/bin/sh
# The mode has bits that mean nothing.
set -e
damage "$1" inode /files/small mode=0x181a4
