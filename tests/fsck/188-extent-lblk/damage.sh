#!/bin/sh
# An extent is for a block that no file can have.
set -e
damage "$1" extent /files/three 2 lblk:ones
