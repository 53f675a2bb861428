#!/bin/sh
# The journal is said to begin elsewhere.
# base: groups
set -e
damage "$1" super journal_start+1
