#!/bin/sh
# A leaf counts more entries than it has.
set -e
damage "$1" tree /files 0 nr=1000
