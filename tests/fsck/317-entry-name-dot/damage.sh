#!/bin/sh
# A name is "..".
set -e
damage "$1" dirent /dirs/a name=. key+0
