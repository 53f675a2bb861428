#!/bin/sh
# A leaf counts more extents than fit.
set -e
damage "$1" tree /files/tree 2 nr=60000
