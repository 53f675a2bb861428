#!/bin/sh
# A name has another key.
set -e
damage "$1" dirent /files/small key+4096
