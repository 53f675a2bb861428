#!/bin/sh
# A fork of a format that does not exist.
set -e
damage "$1" inode /files/small fork_format=9
