/* report_page.h - the page of sim/report/, around the place where a run's data goes. Made by the
 * build (sim/report/embed.cmake) from page.html, page.css and page.js. */
#pragma once

#include <stddef.h>

extern const unsigned char REPORT_PAGE_HEAD[], REPORT_PAGE_TAIL[];
extern const size_t REPORT_PAGE_HEAD_BYTES, REPORT_PAGE_TAIL_BYTES;
