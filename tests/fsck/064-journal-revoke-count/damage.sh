#!/bin/sh
# A revoke record counts more blocks than fit.
# base: cut
set -e
tail=$(damage get "$1" journal 0 tail)
damage "$1" journal $((tail + 20)) nr=504
