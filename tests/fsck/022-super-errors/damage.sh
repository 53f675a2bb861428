#!/bin/sh
# Damage was seen while it was mounted, but there is none.
set -e
damage "$1" super state=3
