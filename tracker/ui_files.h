/* ui_files.h - the files of /ui/, made from tracker/ui/ by the build (tracker/ui/embed.cmake). */
#pragma once

#include <stddef.h>

struct ui_file {
    const char *path; /* below /ui/; "" is the page */
    const char *type;
    const char *etag; /* quoted: changes with the bytes */
    const unsigned char *bytes;
    size_t len;
};
extern const struct ui_file UI_FILES[];
extern const size_t UI_FILES_COUNT;
