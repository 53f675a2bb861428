#!/bin/sh
# A file has no name, and lost+found is none of a directory.
# base: found
set -e
damage "$1" dirent /dirs/second remove
