#include "ask.h"
#include "souk/core/err.h"
#include "verbs.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

static size_t on_data(char *bytes, size_t size, size_t n, void *data) {
    return buf__append(data, bytes, size * n) ? size * n : 0;
}

static CURLcode fetch(const struct settings *settings, const char *method, const char *path,
                      struct buf *out, long *status) {
    char url[2048], line[512];
    const struct config *config = settings->config;
    const char *host = config->hub.host;
    /* What listens on all addresses is asked at this machine's. */
    if (strcmp(host, "0.0.0.0") == 0) host = "127.0.0.1";
    if (strcmp(host, "::") == 0) host = "::1";
    bool v6 = strchr(host, ':') != NULL;
    snprintf(url, sizeof url, "http://%s%s%s:%d%s", v6 ? "[" : "", host, v6 ? "]" : "",
             (int)config->hub.port, path);
    CURL *curl = curl_easy_init();
    if (curl == NULL) return CURLE_OUT_OF_MEMORY;
    struct curl_slist *headers = NULL;
    for (size_t i = 0; i < settings->n_tokens; i++) {
        if (!settings->tokens[i].write && i + 1 < settings->n_tokens) continue;
        snprintf(line, sizeof line, "Authorization: Bearer %s", settings->tokens[i].token);
        headers = curl_slist_append(NULL, line);
        break;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    if (strcmp(method, "POST") == 0) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    /* A change waits until what is under way has ended. */
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, strcmp(method, "POST") == 0 ? 60L : 5L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return code;
}

/* A string of a read document lies in the document's own memory, ended by a zero; "\\u0000" in it
 * only ends it sooner. */
static void plain_value(yyjson_val *value) {
    if (yyjson_is_str(value)) err__plain((char *)(uintptr_t)yyjson_get_str(value), false);
}

/* All values of a document lie behind each other. */
yyjson_doc *plain_doc(yyjson_doc *doc) {
    yyjson_val *value = yyjson_doc_get_root(doc);
    for (size_t n = yyjson_doc_get_val_count(doc); n > 0; n--) plain_value(value++);
    return doc;
}

/* A value at a time would not do: an answer need not be JSON. */
void print_json(struct slice json) {
    for (size_t i = 0, n; i < json.len; i += n) {
        const char *at = json.base + i;
        unsigned char c = (unsigned char)*at;
        for (n = 1; n <= 4 && n <= json.len - i && !slice__is_utf8(slice__of(at, n));) n++;
        bool none = n > 4 || n > json.len - i;
        if (none) n = 1;
        if (none) putchar('?');
        else if (c < 0x20) putchar(c == '\n' ? c : ' '); /* In no text of JSON. */
        else if (c == 0x7f || (c == 0xc2 && (unsigned char)at[1] < 0xa0))
            printf("\\u%04x", (unsigned char)at[n - 1]);
        else fwrite(at, 1, n, stdout);
    }
    putchar('\n');
}

const char *answer_text(yyjson_val *obj, const char *key) {
    const char *s = yyjson_get_str(yyjson_obj_get(obj, key));
    return s == NULL ? "" : s;
}

double answer_num(yyjson_val *obj, const char *key) {
    return yyjson_get_num(yyjson_obj_get(obj, key));
}

static void print_refusal(const struct buf *body, long status) {
    yyjson_doc *doc = plain_doc(yyjson_read(body->base, body->len, 0));
    const char *msg =
        yyjson_get_str(yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(doc), "error"), "msg"));
    fprintf(stderr, "souk: it refused with HTTP %ld: %s\n", status, msg == NULL ? "" : msg);
    yyjson_doc_free(doc);
}

int ask_hub(const struct settings *settings, const char *method, const char *path,
            struct buf *out) {
    long status = 0;
    CURLcode code = fetch(settings, method, path, out, &status);
    if (code != CURLE_OK) {
        fprintf(stderr, "souk: no souk answers at %s:%d (%s); is it running?\n",
                settings->config->hub.host, (int)settings->config->hub.port,
                curl_easy_strerror(code));
        return EXIT_UNAVAILABLE;
    }
    if (status == 200) return 0;
    print_refusal(out, status);
    return EXIT_FAILURE;
}

void put_query(struct buf *path, const char *name, const char *value) {
    bool first = path->len == 0 || memchr(path->base, '?', path->len) == NULL;
    buf__printf(path, "%s%s=", first ? "?" : "&", name);
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || *p == '-' || *p == '_' || *p == '.';
        if (plain) buf__u8(path, *p);
        else buf__printf(path, "%%%02X", *p);
    }
}
