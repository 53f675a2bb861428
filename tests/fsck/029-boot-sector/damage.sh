#!/bin/sh
# Block 0 says nothing of the disk's use.
set -e
damage "$1" block 0 zero
