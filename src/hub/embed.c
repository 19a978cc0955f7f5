/* Turns the files of a folder into a C file with a table of struct hub_asset. Runs at build time:
 *
 *     embed OUTPUT DEPFILE FOLDER
 *
 * Files in the folder itself only, sorted by name; a missing folder makes an empty table. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static const struct {
    const char *ending, *type;
} types[] = {{".html", "text/html; charset=utf-8"},
             {".css", "text/css; charset=utf-8"},
             {".js", "text/javascript; charset=utf-8"},
             {".svg", "image/svg+xml"},
             {".json", "application/json"},
             {".webmanifest", "application/manifest+json"},
             {".png", "image/png"},
             {".ico", "image/x-icon"},
             {".txt", "text/plain; charset=utf-8"}};

static const char *type_of(const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        size_t m = strlen(types[i].ending);
        if (n > m && strcmp(name + n - m, types[i].ending) == 0) return types[i].type;
    }
    return "application/octet-stream";
}

static void die(const char *what, const char *name) {
    fprintf(stderr, "embed: %s %s\n", what, name);
    exit(1);
}

static unsigned char *read_all(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) die("cannot read", path);
    long size = ftell(f);
    rewind(f);
    unsigned char *bytes = malloc((size_t)size + 1);
    if (bytes == NULL || fread(bytes, 1, (size_t)size, f) != (size_t)size) die("cannot read", path);
    fclose(f);
    *len = (size_t)size;
    return bytes;
}

/* @return gzip of @in, the same bytes for the same input; NULL when that is not shorter. */
static unsigned char *compress_gz(const unsigned char *in, size_t len, size_t *out_len) {
    z_stream z = {0};
    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) return NULL;
    size_t cap = deflateBound(&z, (uLong)len);
    unsigned char *out = malloc(cap);
    if (out == NULL) die("out of memory for", "gzip");
    z.next_in = (unsigned char *)(uintptr_t)in;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    int code = deflate(&z, Z_FINISH);
    *out_len = z.total_out;
    deflateEnd(&z);
    if (code == Z_STREAM_END && *out_len < len) return out;
    free(out);
    return NULL;
}

static void put_bytes(FILE *f, const char *kind, int index, const unsigned char *bytes,
                      size_t len) {
    fprintf(f, "static const unsigned char %s_%d[] = {", kind, index);
    for (size_t i = 0; i < len; i++) fprintf(f, "%s%u,", i % 24 == 0 ? "\n" : "", bytes[i]);
    fprintf(f, "0};\n");
}

static int is_file(const struct dirent *d) { return d->d_name[0] != '.'; }

int main(int argc, char **argv) {
    if (argc != 4) die("usage: embed OUTPUT DEPFILE FOLDER", "");
    FILE *f = fopen(argv[1], "w"), *dep = fopen(argv[2], "w");
    if (f == NULL || dep == NULL) die("cannot write", argv[1]);
    struct dirent **names = NULL;
    int n = scandir(argv[3], &names, is_file, alphasort);
    char *table = NULL;
    size_t table_len = 0;
    FILE *t = open_memstream(&table, &table_len);
    fprintf(f, "/* Made by embed. */\n#include \"souk/hub.h\"\n");
    fprintf(dep, "%s:", argv[1]);
    /* The folder, or what it would appear in, so that a new file or folder is noticed. */
    while (access(argv[3], F_OK) != 0 && strrchr(argv[3], '/') != NULL)
        *strrchr(argv[3], '/') = '\0';
    fprintf(dep, " %s", argv[3]);
    for (int i = 0; i < n; i++) {
        char path[4096];
        size_t len, gz_len = 0;
        snprintf(path, sizeof path, "%s/%s", argv[3], names[i]->d_name);
        unsigned char *bytes = read_all(path, &len), *gz = compress_gz(bytes, len, &gz_len);
        put_bytes(f, "file", i, bytes, len);
        if (gz != NULL) put_bytes(f, "gz", i, gz, gz_len);
        uint64_t hash = 14695981039346656037u; /* FNV-1a: names a version, guards nothing. */
        for (size_t k = 0; k < len; k++) hash = (hash ^ bytes[k]) * 1099511628211u;
        fprintf(t, "    {\"/%s\", \"%s\", \"\\\"%016llx\\\"\", file_%d, %zu, ", names[i]->d_name,
                type_of(names[i]->d_name), (unsigned long long)hash, i, len);
        if (gz != NULL) fprintf(t, "gz_%d, %zu},\n", i, gz_len);
        else fprintf(t, "NULL, 0},\n");
        fprintf(dep, " %s", path);
        free(bytes);
        free(gz);
        free(names[i]);
    }
    free(names);
    fclose(t);
    fprintf(
        f,
        "const struct hub_asset hub_assets[] = {\n%s    {NULL, NULL, NULL, NULL, 0, NULL, 0}};\n",
        table);
    fprintf(f, "const size_t hub_n_assets = %d;\n", n > 0 ? n : 0);
    fprintf(dep, "\n");
    free(table);
    return fclose(f) != 0 || fclose(dep) != 0;
}
