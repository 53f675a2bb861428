#!/bin/sh
# A directory has two names.
set -e
damage "$1" dirent /dirs/second "ino=$(damage get "$1" dirent /dirs/few ino)" type=directory
