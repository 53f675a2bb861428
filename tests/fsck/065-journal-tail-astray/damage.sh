#!/bin/sh
# The tail leads into the middle of a transaction.
# base: cut
set -e
damage "$1" journal 0 tail+3
