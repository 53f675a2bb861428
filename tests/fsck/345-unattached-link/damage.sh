#!/bin/sh
# One name of two is gone.
set -e
damage "$1" dirent /linked remove
