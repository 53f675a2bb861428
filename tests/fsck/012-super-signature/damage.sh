#!/bin/sh
# The signature is another's.
# base: groups
set -e
damage "$1" super signature=ext4
