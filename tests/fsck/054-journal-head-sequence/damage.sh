#!/bin/sh
# The tail has number 0.
set -e
damage "$1" journal 0 tail_sequence=0
