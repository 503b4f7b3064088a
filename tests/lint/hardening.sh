#!/bin/sh
# Is the program hardened as the build means it to be? Reads the ELF file alone.
#
#   hardening.sh PROGRAM
set -u
program=${1:?a program}
export LC_ALL=C
failed=0

must() { # <what> <what readelf is asked> <pattern>
    readelf -W "$2" "$program" | grep -qE "$3" || {
        echo "$program: $1"
        failed=1
    }
}

must "not position independent" -h 'Type: *DYN'
must "no read-only relocations" -l 'GNU_RELRO'
must "symbols are bound lazily: a writable jump table" -d 'BIND_NOW|FLAGS.* NOW'
must "no mark for a stack without code" -l 'GNU_STACK .* RW '
must "no stack protector" --dyn-syms '__stack_chk_fail'
must "no fortified calls" --dyn-syms '__[a-z]+_chk(@|$)'
exit "$failed"
