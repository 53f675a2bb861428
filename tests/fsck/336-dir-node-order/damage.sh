#!/bin/sh
# Records of a directory's node are out of order.
set -e
damage "$1" tree /dirs/many 0 swap=1,3
