#!/bin/sh
# A directory with names below it has none itself.
set -e
damage "$1" dirent /dirs/a remove
