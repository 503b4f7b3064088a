/* suggest.c - see suggest.h. The distance is optimal string alignment: Levenshtein's, where two
 * neighbours swapped count as one slip. */
#include "runtime/suggest.h"

#include <string.h>

#define WORD_MAX 48 /* longer words are nobody's typing slip */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t slips_between(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX)
        return SIZE_MAX;
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t other = last[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = least(other, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[m];
}

void suggest_init(struct suggest *s, const char *word)
{
    *s = (struct suggest){.word = word, .slips = SIZE_MAX};
}

void suggest_offer(struct suggest *s, const char *candidate)
{
    const char *dot = strrchr(candidate, '.');
    size_t slips = slips_between(s->word, candidate);
    if (dot && strcmp(dot + 1, s->word) == 0)
        slips = 0;
    if (slips > (strlen(s->word) + 2) / 3 || slips >= s->slips)
        return;
    s->slips = slips;
    s->best = candidate;
}
