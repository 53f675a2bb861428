#!/bin/sh
# A bit of the journal's head flipped.
set -e
damage -k "$1" journal 0 tail+1
