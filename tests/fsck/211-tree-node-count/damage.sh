#!/bin/sh
# A node counts more records than fit.
set -e
damage "$1" tree /files/tree 0 nr=5000
