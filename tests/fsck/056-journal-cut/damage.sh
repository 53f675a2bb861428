#!/bin/sh
# Nothing is damaged: power was cut, three transactions are to be replayed.
# base: cut
