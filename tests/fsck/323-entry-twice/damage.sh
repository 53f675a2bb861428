#!/bin/sh
# A name is there twice.
set -e
many="/dirs/many/a name so long that a leaf of the directory does not have many, number"
damage "$1" dirent "$many 064" key="$(($(damage get "$1" dirent "$many 087" key) + 1))" name="${many##*/} 087"
