#!/bin/sh
# The ring is overwritten with nonsense.
# base: cut
set -e
tail=$(damage get "$1" journal 0 tail)
damage "$1" journal "$tail" random=2
damage "$1" journal $((tail + 1)) random=3
