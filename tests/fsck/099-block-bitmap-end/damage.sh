#!/bin/sh
# Bits past the group's end are clear.
set -e
damage "$1" bit block 4096 clear
damage "$1" bit block 32255 clear
