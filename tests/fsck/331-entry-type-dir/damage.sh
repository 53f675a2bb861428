#!/bin/sh
# A name says that a directory is a file.
set -e
damage "$1" dirent /dirs/a type=file
