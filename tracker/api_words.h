/* api_words.h - what the API's handlers read of a request: paths, words of URLs, bodies. Pure. */
#pragma once

#include <jansson.h>

#include "runtime/http_server.h"

bool words_begin(struct http_slice s, const char *with);
bool words_are(struct http_slice s, const char *text);
/* Decodes %xx. False: malformed, a NUL, or too long for `cap` with its NUL. */
bool words_decode(const char *p, size_t n, char *out, size_t cap);
/* The value of `key` in the query of a target, decoded. ERR_NOTFOUND: there is none (`out` is "");
 * ERR_INVAL: as words_decode(). */
must_use int words_query(struct http_slice target, const char *key, char *out, size_t cap);
/* A member of an object that is a text of 1 to cap - 1 bytes, copied; false: it is none. */
bool words_text(const json_t *object, const char *key, char *out, size_t cap);
/* For an answer: names are bytes (a login's may be Latin-1), and JSON's texts are UTF-8. Of what is
 * none every byte above 0x7f is shown as "?". A new reference. */
json_t *words_string(const char *text);
/* A body that is one JSON value; NULL: it is none. A new reference. */
json_t *words_json(struct http_slice body);
