#!/bin/sh
# A bit of the copy flipped.
# base: groups
set -e
damage -k "$1" block 262145 @900=80
