/* Removes the folder that a test worked in. */
#ifndef TEST_DIR_H
#define TEST_DIR_H

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

/* Removes @dir, a path of at most 255 bytes, and all in it but names that start with a dot. */
static inline void remove_dir(const char *dir) {
    char path[512];
    DIR *d = opendir(dir);
    for (struct dirent *x; d != NULL && (x = readdir(d)) != NULL;) {
        if (x->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%.255s/%s", dir, x->d_name);
        if (x->d_type == DT_DIR) remove_dir(path);
        else unlink(path);
    }
    if (d != NULL) closedir(d);
    rmdir(dir);
}

#endif
