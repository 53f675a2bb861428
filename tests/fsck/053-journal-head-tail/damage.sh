#!/bin/sh
# The tail is outside of the journal.
set -e
damage "$1" journal 0 tail=1024
