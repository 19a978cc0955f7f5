/* Build tool: writes the migrations that are named on its command line as C data.
 *
 *     embed_sql 0001_name.sql ... > migrations.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_file(FILE *in, unsigned version) {
    printf("static const char sql_%u[] = {", version);
    for (int c; (c = getc(in)) != EOF;) printf("%d,", c);
    printf("0};\n");
}

int main(int argc, char **argv) {
    printf("#include \"souk/schema.h\"\n");
    for (int i = 1; i < argc; i++) {
        const char *slash = strrchr(argv[i], '/'), *name = slash == NULL ? argv[i] : slash + 1;
        FILE *in = fopen(argv[i], "r");
        if (in == NULL) {
            perror(argv[i]);
            return EXIT_FAILURE;
        }
        put_file(in, (unsigned)strtoul(name, NULL, 10));
        fclose(in);
    }
    printf("const struct migration schema_migrations[] = {\n");
    for (int i = 1; i < argc; i++) {
        const char *slash = strrchr(argv[i], '/'), *name = slash == NULL ? argv[i] : slash + 1;
        unsigned version = (unsigned)strtoul(name, NULL, 10);
        printf("{%u, \"%.*s\", sql_%u},\n", version, (int)strcspn(name, "."), name, version);
    }
    printf("};\nconst size_t schema_n_migrations = sizeof schema_migrations / sizeof "
           "*schema_migrations;\n");
    return 0;
}
