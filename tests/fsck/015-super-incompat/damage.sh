#!/bin/sh
# A feature that nobody here knows.
set -e
damage "$1" super incompat=1
