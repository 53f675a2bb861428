#!/bin/sh
# All that the root had has no name.
set -e
damage "$1" dirent /dirs remove
damage "$1" dirent /files remove
damage "$1" dirent /others remove
