#!/bin/sh
# A clean filesystem has a file on the orphan list.
set -e
damage "$1" super "orphan_head=$(damage get "$1" dirent /files/one ino)"
