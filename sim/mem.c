/* mem.c - see mem.h. */
#include "sim/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p, size_t n, size_t size)
{
    if (p || n == 0)
        return p;
    fprintf(stderr, "dray-sim: out of memory (%zu times %zu bytes): fewer --nodes?\n", n, size);
    exit(2);
}

void *mem_new(size_t n, size_t size)
{
    return checked(calloc(n ? n : 1, size), n, size);
}

void *mem_grow(void *old, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return old;
    size_t n = *cap ? *cap : 16;
    while (n < need)
        n *= 2;
    char *p = checked(reallocarray(old, n, size), n, size);
    memset(p + *cap * size, 0, (n - *cap) * size);
    *cap = n;
    return p;
}

char *mem_text(const char *text)
{
    return checked(strdup(text), 1, strlen(text) + 1);
}
