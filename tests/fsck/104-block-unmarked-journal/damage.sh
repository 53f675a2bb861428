#!/bin/sh
# A block of the journal is marked as free.
set -e
damage "$1" bit block 500 clear
