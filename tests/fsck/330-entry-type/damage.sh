#!/bin/sh
# A name says that a file is a directory.
set -e
damage "$1" dirent /files/small type=directory
