#!/bin/sh
# A version of the format that is not ours.
set -e
damage "$1" super version=2
