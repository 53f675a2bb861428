#!/bin/sh
# Nothing is damaged: an orphan waits to be freed.
# base: orphan
