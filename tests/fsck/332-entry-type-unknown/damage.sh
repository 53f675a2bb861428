#!/bin/sh
# A name says nothing of the type.
set -e
damage "$1" dirent /others/fifo type=unknown
