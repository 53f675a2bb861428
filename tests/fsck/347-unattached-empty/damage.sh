#!/bin/sh
# An empty file has no name.
set -e
damage "$1" dirent /files/empty remove
