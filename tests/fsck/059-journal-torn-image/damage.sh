#!/bin/sh
# An image of the second transaction is not whole.
# base: cut
set -e
tail=$(damage get "$1" journal 0 tail)
damage -k "$1" journal $((tail + 13)) @4000=99
