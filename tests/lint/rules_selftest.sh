#!/bin/sh
# Does rules.sh catch what it says it catches? Plants one breach at a time in a small clean tree, and
# sees exactly that file named; sees the clean tree, and lookalikes, pass.
#
#   rules_selftest.sh [CC]
set -u
here=$(cd "$(dirname "$0")" && pwd)
cc=${1:-cc}
tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT
failed=0
planted=0

file() { # <path> <line>...
    path=$tree/$1
    shift
    mkdir -p "$(dirname "$path")"
    printf '%s\n' "$@" >"$path"
}

clean() {
    rm -rf "${tree:?}"/*
    file proto/a.h '/* a.h - a small thing. */' '#pragma once' '#include <stdint.h>'
    file proto/a.c '/* a.c - the same. */' '#include "proto/a.h"' '#include <sodium/utils.h>' \
        '/* strcpy(a, b) would be wrong here; so would atoi(x) */' \
        'const char *a(void);' 'const char *a(void) { return "sprintf(x)"; }' \
        'int my_atoi(int x); int my_atoi(int x) { return x; } /* XXXL */'
    file store/s.c '/* s.c - keeps. */' '#include <lmdb.h>' '#include <openssl/sha.h>' \
        '#include "proto/a.h"' '#include "store/s.h"'
    file store/s.h '/* s.h - keeps. */' '#pragma once'
    file runtime/r.c '/* r.c - runs. */' '#include <uv.h>' '#include <curl/curl.h>' \
        '#include "proto/a.h"'
    file node/n.c '/* n.c - serves. */' '#include <openssl/ssl.h>' '#include "runtime/r.h"' \
        '#include "store/s.h"'
    file sim/m.c '/* m.c - plays. */' '#include "store/s.h"' '#include "proto/a.h"'
    file tests/unit/t.c '/* Tests. */' '#include <setjmp.h>' '#include <cmocka.h>' '#include "node/n.h"'
}

passes() {
    out=$("$here/rules.sh" "$tree") || {
        echo "FAIL: a clean tree is refused: $out"
        failed=1
    }
}

# caught <file> <line>...: the file, planted in the clean tree, is refused and named.
caught() {
    clean
    file "$@"
    planted=$((planted + 1))
    if out=$("$here/rules.sh" "$tree"); then
        shift
        echo "FAIL: not caught: $*"
        failed=1
    else
        case $out in
        "$1:"*) ;;
        *)
            echo "FAIL: another file is blamed for $1: $out"
            failed=1
            ;;
        esac
    fi
}

clean
passes

c='/* b.c - planted. */'
caught proto/b.c "$c" '#include "store/s.h"'
caught proto/b.c "$c" '#include "runtime/r.h"'
caught proto/b.c "$c" '#include "a.h"'
caught proto/b.c "$c" '#include <fcntl.h>'
caught proto/b.c "$c" '#include <time.h>'
caught proto/b.c "$c" '#include <sys/socket.h>'
caught proto/b.c "$c" '#include <pthread.h>'
caught proto/b.c "$c" '  #  include <unistd.h>'
caught proto/b.c "$c" '#include <uv.h>'
caught proto/b.c "$c" '#include <openssl/sha.h>'
caught store/b.c "$c" '#include "runtime/r.h"'
caught store/b.c "$c" '#include "node/n.h"'
caught store/b.c "$c" '#include <uv.h>'
caught store/b.c "$c" '#include <openssl/ssl.h>'
caught store/b.c "$c" '#include <jansson.h>'
caught runtime/b.c "$c" '#include "store/s.h"'
caught runtime/b.c "$c" '#include "node/n.h"'
caught node/b.c "$c" '#include "tracker/t.h"'
caught node/b.c "$c" '#include "sim/m.h"'
caught tracker/b.c "$c" '#include "node/n.h"'
caught sim/b.c "$c" '#include "runtime/r.h"'
caught sim/b.c "$c" '#include <uv.h>'
caught sim/b.c "$c" '#include <curl/curl.h>'
for word in sprintf strcpy strcat gets strtok atoi alloca; do
    caught node/b.c "$c" "void f(char *x) { $word(x); }"
    caught tests/unit/b.c "$c" "void f(char *x) { x = 0; (void)$word (x); }"
done
caught node/b.c "$c" '/* a comment */ void f(void) { strcpy(a, "b"); }'
caught node/b.c "$c" '/* over' 'two lines */ int x = atoi(y);'
caught node/b.c "$c" 'const char *s = "/*"; int x = atoi(y); /* */'
mark=TO; mark=${mark}DO
caught node/b.c "$c" "/* $mark: later */"
caught node/b.c "$c" "int x; // FIX""ME"
caught node/b.h '/* b.h - planted. */' 'int x;'
caught node/b.h '/* other.h - planted. */' '#pragma once'
caught node/b.h '#pragma once' '/* b.h - planted. */'
caught node/b.c '#include <uv.h>'

# Objects: a clean one passes, one that asks the time (or the like) does not.
clean
objects() { # <body> : builds a library of one function with this body
    printf '%s\n' '#include <stdio.h>' '#include <time.h>' '#include <stdlib.h>' '#include <string.h>' \
        '#include <unistd.h>' '#include <sys/socket.h>' '#include <pthread.h>' \
        'long f(char *x);' "long f(char *x) { $1 }" >"$tree/f.c"
    (cd "$tree" && rm -f libf.a f.o && "$cc" -O1 -D_GNU_SOURCE -c f.c -o f.o && ar rcs libf.a f.o) || {
        echo "FAIL: cannot build: $1"
        failed=1
        return
    }
    rm -f "$tree/f.c"
}
objects 'return (long)strlen(x) + (long)labs((long)x);'
out=$("$here/rules.sh" "$tree" "$tree/libf.a") || {
    echo "FAIL: a clean object is refused: $out"
    failed=1
}
for body in 'return time(0);' 'struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec;' \
    'return random();' 'return (long)fopen(x, x);' 'printf("%s %ld", x, 1L); return 0;' \
    'return socket(1, 1, 1);' 'return read(0, x, 1);' 'return (long)getenv(x);' \
    'return pthread_mutex_lock((void *)x);'; do
    objects "$body"
    planted=$((planted + 1))
    if "$here/rules.sh" "$tree" "$tree/libf.a" >/dev/null; then
        echo "FAIL: not caught in an object: $body"
        failed=1
    fi
done

[ "$failed" = 0 ] && echo "rules_selftest: $planted planted breaches, all caught"
exit "$failed"
