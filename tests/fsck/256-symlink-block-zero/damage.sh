#!/bin/sh
# The block of a long symbolic link is zeros.
set -e
damage "$1" target /others/long zero
