#!/bin/sh
# Slots are out of order.
set -e
damage "$1" tree /files 0 swap=1,4
