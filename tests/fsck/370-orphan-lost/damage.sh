#!/bin/sh
# An orphan is not on the list.
# base: orphan
set -e
damage "$1" super orphan_head=0
