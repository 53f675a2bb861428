#!/bin/sh
# An extent has an unknown flag.
set -e
damage "$1" extent /files/three 2 flags=6
