/* Runs a fuzz target over the files that are named, and over those in the folders that are named:
 * what libFuzzer's own main does with files, for compilers that have no libFuzzer. A folder without
 * files is an error, or a corpus that went away would pass. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes are copied to memory of their own size, so that a read behind them is seen. */
static int run_file(const char *path) {
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (f == NULL || fstat(fileno(f), &st) != 0) {
        perror(path);
        return 1;
    }
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size == 0 ? 1 : size);
    if (data == NULL || fread(data, 1, size, f) != size) {
        perror(path);
        exit(1);
    }
    fclose(f);
    fprintf(stderr, "%s\n", path); /* The last one printed is the one that failed. */
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int run_dir(const char *path) {
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort), n_run = 0, failed = 0;
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            failed |= run_file(file);
            n_run++;
        }
        free(names[i]);
    }
    if (n >= 0) free(names);
    printf("%s: %d inputs\n", path, n_run);
    return n_run == 0 ? 1 : failed;
}

int main(int argc, char **argv) {
    int failed = argc < 2;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        bool is_dir = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        failed |= is_dir ? run_dir(argv[i]) : run_file(argv[i]);
    }
    return failed;
}
