#!/bin/sh
# The block of a long symbolic link counts more bytes than it has.
set -e
damage "$1" target /others/long bytes=5000
