/* err.c - the words for each error code.
 *
 * Both switches are made from the one table, so a code cannot lack its name or its sentence. Any
 * int is answered: a code may have travelled through somebody else's integer on its way to a log.
 */
#include "proto/err.h"

const char *err_name(int err)
{
    switch (err) {
    case ERR_OK: return "ERR_OK";
#define X(name, number, text)                                                                      \
    case name: return #name;
        ERR_TABLE(X)
#undef X
    }
    return "ERR_UNKNOWN";
}

const char *err_text(int err)
{
    switch (err) {
    case ERR_OK: return "no error";
#define X(name, number, text)                                                                      \
    case name: return text;
        ERR_TABLE(X)
#undef X
    }
    return "unknown error";
}
