#!/bin/sh
# The journal's head is zeros.
set -e
damage "$1" journal 0 zero
