#!/bin/sh
# Blocks in use became unwritten: no damage.
set -e
damage "$1" extent /files/three 1 flags=unwritten
