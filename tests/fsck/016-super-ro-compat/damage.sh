#!/bin/sh
# A feature that allows reading only.
set -e
damage "$1" super ro_compat=1
