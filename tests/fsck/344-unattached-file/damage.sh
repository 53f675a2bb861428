#!/bin/sh
# A file has no name.
set -e
damage "$1" dirent /dirs/second remove
