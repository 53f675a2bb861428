#!/bin/sh
# An extent lies in the journal.
set -e
damage "$1" extent /files/small 0 pblk=200
