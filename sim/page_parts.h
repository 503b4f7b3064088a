/* page_parts.h - the page of sim/page/, before and after the place where a run's data goes.
 *
 * Made by the build (sim/page/embed.cmake) from index.html, page.css and page.js. */
#pragma once

#include <stddef.h>

extern const unsigned char PAGE_HEAD[], PAGE_TAIL[];
extern const size_t PAGE_HEAD_BYTES, PAGE_TAIL_BYTES;
