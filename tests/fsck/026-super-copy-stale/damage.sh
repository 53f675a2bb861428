#!/bin/sh
# The copy speaks of another journal.
# base: groups
set -e
damage "$1" block 262145 journal_blocks+1
