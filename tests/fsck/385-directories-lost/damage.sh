#!/bin/sh
# All leaves of directories are zeros.
set -e
for dir in /dirs/a/b /dirs/a /dirs/few /dirs /files /others /; do
	damage "$1" tree "$dir" 0 zero
done
