#!/bin/sh
# Records of a node are out of order.
set -e
damage "$1" tree /files/tree 0 swap=1,2
