#!/bin/sh
# The rules of the house that a compiler does not know. `rules.sh TREE [LIBRARY]` prints each breach
# as file:line: what is wrong, and exits 1 if there is any. LIBRARY is proto's static library, whose
# objects are held against the list of what they may not import.
#
#   arrows     rooms include downwards only: node, tracker -> runtime, store, proto; sim -> store,
#              proto; store -> proto
#   libraries  proto: libc without files, clocks, sockets and threads; libsodium; msgpack-c.
#              store: also LMDB and libcrypto. sim: as store, and YAML (topologies). libuv, libcurl,
#              llhttp, libssl, jansson: runtime, node and tracker only
#   words      functions that cannot bound what they write or tell an error from a zero; marks of
#              unfinished work
#   form       a header opens with its own name and a reason, and has #pragma once
#   objects    proto imports no clock, socket, random, thread, process or file function
#
# tests/lint/rules_selftest.sh plants a breach of each kind and sees it caught.
set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "${1:?a tree}" && pwd) || exit 2
library=${2:-}
[ -z "$library" ] || library=$(cd "$(dirname "$library")" && pwd)/$(basename "$library")
cd "$tree" || exit 2

sources=$("$here/sources.sh" "$tree")
[ -n "$sources" ] || {
    echo "rules: no sources in $tree" >&2
    exit 2
}

# One pass over all lines. Comments are not code: they are blanked before the words are looked for,
# except for the marks of unfinished work, which stand in comments.
breaches=$(printf '%s\n' "$sources" | xargs awk '
function breach(what) { printf "%s:%d: %s\n", FILENAME, FNR, what }

# May `room` include <header> of a library? One list per group, the group by the header.
function library_group(h) {
    if (h ~ /^sodium(\.h|\/)/) return "sodium"
    if (h ~ /^msgpack(\.h|\/)/) return "msgpack"
    if (h == "lmdb.h") return "lmdb"
    if (h ~ /^openssl\/(ssl|tls1|x509_vfy|bio)/) return "ssl"
    if (h ~ /^openssl\//) return "crypto"
    if (h ~ /^uv(\.h|\/)/) return "uv"
    if (h ~ /^curl\//) return "curl"
    if (h == "llhttp.h") return "llhttp"
    if (h == "jansson.h") return "jansson"
    if (h ~ /^cyaml\// || h == "yaml.h") return "yaml"
    if (h == "cmocka.h") return "cmocka"
    return "libc"
}

BEGIN {
    below["proto"] = "proto"
    below["store"] = "store proto"
    below["runtime"] = "runtime proto"
    below["node"] = "node runtime store proto"
    below["tracker"] = "tracker runtime store proto"
    below["sim"] = "sim store proto"
    daemon = " sodium msgpack lmdb ssl crypto uv curl llhttp jansson yaml libc "
    libs["proto"] = " sodium msgpack libc "
    libs["store"] = " sodium msgpack lmdb crypto libc "
    libs["sim"] = libs["store"] "yaml "
    libs["runtime"] = libs["node"] = libs["tracker"] = daemon
    # What of libc the sans-IO room may see: text, numbers, assertions. (stdio.h is for snprintf: what it
    # has of files is caught in the objects.)
    pure = " assert.h errno.h float.h inttypes.h limits.h math.h stdalign.h stdarg.h stdbool.h" \
           " stddef.h stdint.h stdio.h stdlib.h string.h strings.h endian.h "
    banned = "sprintf|vsprintf|strcpy|stpcpy|strcat|strncat|gets|strtok|atoi|atol|atoll|atof|alloca|" \
             "rand|srand|random|system|popen|tmpnam|mktemp|setjmp|longjmp"
}

FNR == 1 {
    room = FILENAME
    sub(/\/.*/, "", room)
    name = FILENAME
    sub(/.*\//, "", name)
    in_comment = 0
    header = name ~ /\.h$/
    if (header && index($0, "/* " name " - ") != 1)
        breach("a header opens with \"/* " name " - what it is for\"")
    if (!header && index($0, "/*") != 1)
        breach("a file opens with a comment: what it is for")
    if (header) once[FILENAME] = 0
}

/^#pragma once$/ { once[FILENAME] = 1 }

/^[ \t]*#[ \t]*include/ {
    line = $0
    if (line ~ /"/) {
        split(line, part, "\"")
        target = part[2]
        up = target
        if (!sub(/\/.*/, "", up)) up = ""
        if (room in below && index(" " below[room] " ", " " up " ") == 0)
            breach(room " may not include \"" target "\"")
    } else {
        split(line, part, /[<>]/)
        target = part[2]
        group = library_group(target)
        if (room in libs && index(libs[room], " " group " ") == 0)
            breach(room " may not include <" target "> (" group ")")
        if (room == "proto" && group == "libc" && index(pure, " " target " ") == 0)
            breach("proto is sans-IO: <" target "> is not for it")
    }
}

/(^|[^A-Za-z_])(TODO|FIXME|XXX)([^A-Za-z_]|$)/ { breach("unfinished work is not left in the tree") }
/(^|[^A-Za-z_])HACK([^A-Za-z_]|$)/ { breach("unfinished work is not left in the tree") }

{
    code = $0
    gsub(/"([^"\\]|\\.)*"/, "\"\"", code)
    if (in_comment) {
        if (!sub(/^.*\*\//, "", code)) code = ""
        else in_comment = 0
    }
    gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, " ", code)
    if (sub(/\/\*.*$/, "", code)) in_comment = 1
    sub(/\/\/.*$/, "", code)
    if (code !~ /^[ \t]*#[ \t]*include/ && match(code, "(^|[^A-Za-z0-9_.>])(" banned ")[ \t]*\\(")) {
        word = substr(code, RSTART, RLENGTH)
        gsub(/[^a-z]/, "", word)
        if (room != "tests" || word !~ /^(setjmp|longjmp|system)$/)
            breach(word "() is not used here")
    }
    if (room == "proto" && code ~ /^[ \t]*extern[ \t]/ && code !~ /const/)
        breach("proto has no globals")
}

END { for (file in once) if (!once[file]) printf "%s:1: a header has #pragma once\n", file }
')

if [ -n "$library" ]; then
    imports=$(nm -A -u "$library") || {
        echo "rules: cannot read $library" >&2
        exit 2
    }
    # Function names as the linker sees them: fortified (__x_chk), 64-bit (x64) and C23 spellings too.
    denied='open|openat|creat|close|read|pread|preadv|preadv2|write|pwrite|lseek|stat|fstat|lstat|unlink|'
    denied=$denied'rename|mkdir|mmap|munmap|fsync|fcntl|ioctl|dup|dup2|pipe|pipe2|access|chdir|getcwd|'
    denied=$denied'fopen|fdopen|fclose|fread|fwrite|fputs|fputc|fgets|fprintf|vfprintf|printf|puts|perror|'
    denied=$denied'putchar|getline|opendir|readdir|stdin|stdout|stderr|syslog|'
    denied=$denied'socket|connect|bind|listen|accept|accept4|send|sendto|sendmsg|recv|recvfrom|recvmsg|'
    denied=$denied'getaddrinfo|gethostbyname|setsockopt|getsockopt|poll|ppoll|select|epoll_.*|'
    denied=$denied'time|gettimeofday|clock|clock_gettime|clock_nanosleep|nanosleep|usleep|sleep|'
    denied=$denied'localtime|localtime_r|gmtime|mktime|timespec_get|timerfd_.*|alarm|setitimer|'
    denied=$denied'rand|rand_r|srand|random|srandom|drand48|lrand48|getrandom|getentropy|arc4random.*|'
    denied=$denied'randombytes.*|RAND_.*|'
    denied=$denied'pthread_.*|thrd_.*|mtx_.*|fork|vfork|execv.*|execl.*|system|popen|kill|raise|signal|'
    denied=$denied'sigaction|getenv|secure_getenv|setenv|getpid|gethostname|setlocale|uv_.*|curl_.*'
    found=$(printf '%s\n' "$imports" | awk -v denied="^(__)?($denied)(64)?(_chk)?(_time64)?\$" '
        $NF ~ denied { split($1, part, ":"); print part[2] ":1: proto imports " $NF }' | sort -u)
    [ -z "$found" ] || breaches="$breaches
$found"
fi

breaches=$(printf '%s\n' "$breaches" | sed '/^$/d')
[ -z "$breaches" ] || {
    printf '%s\n' "$breaches"
    exit 1
}
