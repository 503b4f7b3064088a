/* Feeds every file of the given directories to a fuzz target, in the order of their names.
 *
 * It stands where libFuzzer's driver stands in the fuzz build, so that kept inputs are ordinary
 * tests under any compiler. Each input is handed over in a block of its exact size: a sanitizer
 * then sees a read past its end. Beside the files, every prefix of each is tried, since a message
 * may stop anywhere. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (1u << 20)
#define PREFIXES  4096u /* of the longest inputs only so many prefixes are tried */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static void feed(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        abort();
    memcpy(exact, bytes, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static int replay(const char *dir, const char *name)
{
    static uint8_t bytes[INPUT_MAX];
    char path[4096];
    int written = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (written < 0 || (size_t)written >= sizeof path)
        return -1;
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    size_t size = fread(bytes, 1, sizeof bytes, f);
    int failed = ferror(f);
    fclose(f);
    if (failed)
        return -1;
    printf("%s: %zu bytes\n", path, size);
    fflush(stdout); /* the last line names the input that ends the program */
    for (size_t n = 0; n < size && n < PREFIXES; n++)
        feed(bytes, n);
    feed(bytes, size);
    return 0;
}

static int by_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    int inputs = 0;
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        struct dirent **entries;
        int n = scandir(argv[i], &entries, by_visible, alphasort);
        if (n < 0) {
            perror(argv[i]);
            return 1;
        }
        for (int k = 0; k < n; k++) {
            if (replay(argv[i], entries[k]->d_name) != 0) {
                fprintf(stderr, "cannot read %s/%s\n", argv[i], entries[k]->d_name);
                return 1;
            }
            free(entries[k]);
            inputs++;
        }
        free(entries);
    }
    printf("%d inputs\n", inputs);
    return inputs > 0 ? 0 : 1;
}
