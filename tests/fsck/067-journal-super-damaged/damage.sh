#!/bin/sh
# The superblock is torn, but stands whole in the journal.
# base: cut
set -e
damage -k "$1" super @200=ffff
