#!/bin/sh
# Blocks a group are no power of two.
# base: groups
set -e
damage "$1" super group_blocks=300000
