#!/bin/sh
# A leaf is overwritten with nonsense.
set -e
damage "$1" tree /others 0 random=6
