#!/bin/sh
# A leaf counts no entries.
set -e
damage "$1" tree /dirs/few 0 nr=0
