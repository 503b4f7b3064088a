#!/bin/sh
# Names every C file of the project, one a line, from the top of the tree; with an argument, those
# under that tree.
cd "${1:-$(dirname "$0")/../..}" || exit 1
for room in proto store runtime node tracker sim tests; do
    [ ! -d "$room" ] || find "$room" -name '*.[ch]' -type f
done | LC_ALL=C sort
