#!/bin/sh
# A leaf is another directory's.
set -e
damage "$1" tree /dirs/few 0 head.owner=2
