#!/bin/sh
# An image's home is past the end of the disk.
# base: cut
set -e
tail=$(damage get "$1" journal 0 tail)
damage "$1" journal "$tail" "tag[0].block:ones"
