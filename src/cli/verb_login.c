/* souk login and souk logout: the authorization code grant with PKCE (RFC 6749, section 4.1; RFC
 * 7636; RFC 8252). The happy path: the browser shows the vendor's page, comes back to a port of
 * this machine with a code, the code becomes a refresh token, and that goes to disk for souk run.
 *
 * What can fail: nobody comes, the user says no, the vendor refuses the code. Then what was there
 * stays. */
#include "../streams/login_file.h"
#include "ask.h"
#include "login_browser.h"
#include "souk/core/clock.h"
#include "verbs.h"
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <yyjson.h>

#define WAIT_NS (300 * NS_PER_S)
#define WAIT_MAX_NS (3600 * NS_PER_S)
#define SECRET_SIZE 44 /* 43 letters of base64url, 256 bits. */
#define ANSWER_MAX ((size_t)64 << 10)
#define REVOKE_SCOPE "oauth:revoke"

extern char **environ;

const char verb_login_help[] =
    "[account|status] [--no-browser] [--redirect URL] [--wait DURATION]\n\n"
    "account lets souk read the account's own stash (account_stashes): it opens the vendor's page "
    "in\n"
    "your browser, or prints its address, and waits for you to agree there. What comes back is "
    "kept\n"
    "in login.json of the state directory, for its owner alone, and renewed by the running souk. "
    "Run\n"
    "it as the user that souk runs as, on the machine of your browser (or forward the port). "
    "status,\n"
    "or nothing, says who is logged in and until when.\n\n"
    "  --no-browser      only print the address\n"
    "  --redirect URL    where the browser comes back to, as registered for your client:\n"
    "                    http://127.0.0.1[:PORT][/PATH] [http://127.0.0.1/callback]; without a "
    "port\n"
    "                    one that is free\n"
    "  --wait DURATION   how long to wait for the browser [5m]\n"
    "  --json            status as JSON\n\n"
    "The client is POE_CLIENT_ID (agent.client_id); a public one needs no POE_CLIENT_SECRET. "
    "Asked\n"
    "for is account:stashes, and oauth:revoke where sources.oauth.scopes names it.\n"
    "Exit codes: 0 logged in; 1 nobody is, or it was refused; 2 usage; 69 the vendor does not "
    "answer;\n"
    "73 the port cannot be had; 74 it cannot be kept; 78 configuration.\n";

const char verb_logout_help[] =
    "\n\nForgets the login. The vendor is told too where it granted oauth:revoke; else withdraw it "
    "on\n"
    "the vendor's account page. The running souk stops asking for the stash at once.\n\n"
    "Exit codes: 0 nobody is logged in any more; 1 only here: the vendor refused to withdraw it, "
    "or\n"
    "what was there could not be read; 2 usage; 69 the same: the vendor does not answer; 74 it "
    "cannot\n"
    "be removed; 78 only here: the configuration names no place to withdraw it, or is bad.\n";

static void put_base64url(const unsigned char *bytes, char out[SECRET_SIZE]) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (unsigned i = 0, bit = 0; i < SECRET_SIZE - 1; i++, bit += 6) {
        unsigned next = bit / 8 + 1 < 32 ? bytes[bit / 8 + 1] : 0;
        out[i] = letters[((unsigned)bytes[bit / 8] << 8 | next) >> (10 - bit % 8) & 63];
    }
    out[SECRET_SIZE - 1] = '\0';
}

/* 256 bits that nobody guesses, as 43 letters. */
static bool make_secret(char out[SECRET_SIZE]) {
    unsigned char bytes[32];
    bool good = RAND_bytes(bytes, sizeof bytes) == 1;
    put_base64url(bytes, out);
    explicit_bzero(bytes, sizeof bytes);
    return good;
}

static void put_challenge(const char *verifier, char out[SECRET_SIZE]) {
    unsigned char sum[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)verifier, strlen(verifier), sum);
    put_base64url(sum, out);
}

/* Appends name=value to a form or a query that has its "?" already. */
static void put_field(struct buf *out, const char *name, const char *value) {
    bool first = out->len == 0 || out->base[out->len - 1] == '?';
    buf__printf(out, "%s%s=", first ? "" : "&", name);
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-._~", *p) != NULL;
        if (plain) buf__u8(out, *p);
        else buf__printf(out, "%%%02X", *p);
    }
}

static void put_client(struct buf *form, const struct config *c) {
    put_field(form, "client_id", c->agent.client_id);
    if (c->client_secret[0] != '\0') put_field(form, "client_secret", c->client_secret);
}

static void wipe(struct buf *b) {
    if (b->base != NULL) explicit_bzero(b->base, b->len);
    buf__fini(b);
}

static size_t on_data(char *bytes, size_t size, size_t n, void *data) {
    return buf__append(data, bytes, size * n) ? size * n : 0;
}

/* Posts @form to @path of the token endpoint's host: codes, verifiers and tokens, which are for
 * nobody on the way. @return 0 with the answer, whatever its status; ERR_UNAVAILABLE; ERR_CONFIG.
 */
static int post(const struct config *c, const char *path, struct buf *form, struct buf *answer,
                long *status, struct err *e) {
    char url[1200], why[CURL_ERROR_SIZE] = "";
    if (settings__private_oauth(c, e) != 0) return ERR_CONFIG;
    CURL *curl = curl_easy_init();
    if (curl == NULL || !buf__u8(form, 0)) {
        curl_easy_cleanup(curl);
        return err__setf(e, ERR_NOMEM, "out of memory");
    }
    snprintf(url, sizeof url, "%s%s", c->sources.oauth.base_url, path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, form->base);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, c->user_agent);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    curl_easy_cleanup(curl);
    if (code == CURLE_OK) return 0;
    return err__setf(e, ERR_UNAVAILABLE, "%s does not answer: %s", url,
                     why[0] != '\0' ? why : curl_easy_strerror(code));
}

/* The error code of a refusal; its description is left out: nobody knows what it repeats. */
static void read_refusal(const struct buf *answer, char *out, size_t size) {
    yyjson_doc *doc = yyjson_read(answer->base, answer->len, 0);
    const char *code = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "error"));
    bool fine = code != NULL && strlen(code) < 64 &&
                strspn(code, "abcdefghijklmnopqrstuvwxyz_") == strlen(code);
    snprintf(out, size, "%s", fine ? code : "no reason given");
    yyjson_doc_free(doc);
}

/* What a login needs besides the browser. */
struct attempt {
    char state[SECRET_SIZE], verifier[SECRET_SIZE], redirect[192], code[LOGIN_CODE_MAX];
    char scope[128];
};

static bool names_scope(const struct config *c, const char *scope) {
    for (size_t i = 0; i < c->sources.oauth.n_kinds; i++)
        if (strcmp(c->sources.oauth.kinds[i], scope) == 0) return true;
    return false;
}

static bool has_word(const char *list, const char *word) {
    for (size_t n; *list != '\0'; list += n, list += strspn(list, " ")) {
        n = strcspn(list, " ");
        if (n == strlen(word) && memcmp(list, word, n) == 0) return true;
    }
    return false;
}

static int begin(struct attempt *t, const struct login_browser *b, const struct config *c,
                 struct buf *url, struct err *e) {
    char challenge[SECRET_SIZE];
    if (!make_secret(t->state) || !make_secret(t->verifier))
        return err__setf(e, ERR_UNAVAILABLE, "the system gives no random numbers");
    login_browser__redirect(b, t->redirect, sizeof t->redirect);
    snprintf(t->scope, sizeof t->scope, "%s%s", OAUTH_LOGIN_SCOPE,
             names_scope(c, REVOKE_SCOPE) ? " " REVOKE_SCOPE : "");
    put_challenge(t->verifier, challenge);
    buf__printf(url, "%s/oauth/authorize?", c->sources.oauth.base_url);
    put_field(url, "client_id", c->agent.client_id);
    put_field(url, "response_type", "code");
    put_field(url, "scope", t->scope);
    put_field(url, "state", t->state);
    put_field(url, "redirect_uri", t->redirect);
    put_field(url, "code_challenge", challenge);
    put_field(url, "code_challenge_method", "S256");
    return buf__u8(url, 0) ? 0 : err__setf(e, ERR_NOMEM, "out of memory");
}

/* The code for the refresh token. */
static int exchange(const struct attempt *t, const struct config *c, struct login_file *out,
                    struct err *e) {
    struct buf form = buf__init(8192), answer = buf__init(ANSWER_MAX);
    struct oauth_login got = {.life_s = 0};
    unsigned char id[8];
    struct clock now;
    long status = 0;
    put_client(&form, c);
    put_field(&form, "grant_type", "authorization_code");
    put_field(&form, "code", t->code);
    put_field(&form, "redirect_uri", t->redirect);
    put_field(&form, "scope", t->scope);
    put_field(&form, "code_verifier", t->verifier);
    int code = post(c, "/oauth/token", &form, &answer, &status, e);
    if (code == 0 && status != 200) {
        char why[64];
        read_refusal(&answer, why, sizeof why);
        code = err__setf(e, ERR_REFUSED, "the vendor refuses the login with HTTP %ld: %s", status,
                         why);
    }
    if (code == 0) code = oauth__parse_login(buf__slice(&answer), &got, e);
    if (code == 0 && got.refresh[0] == '\0')
        code = err__setf(e, ERR_PROTOCOL, "the vendor gives no refresh token");
    if (code == 0 && got.username[0] == '\0')
        code = err__setf(e, ERR_PROTOCOL, "the vendor does not say whose account it is");
    if (code == 0 && RAND_bytes(id, sizeof id) != 1)
        code = err__setf(e, ERR_UNAVAILABLE, "the system gives no random numbers");
    wipe(&form);
    wipe(&answer);
    if (code != 0) return code;
    clock__read(&now);
    *out = (struct login_file){.logged_in_s = now.wall_ns / NS_PER_S};
    snprintf(out->client_id, sizeof out->client_id, "%s", c->agent.client_id);
    snprintf(out->scope, sizeof out->scope, "%s", t->scope);
    for (size_t i = 0; i < sizeof id; i++) snprintf(out->id + 2 * i, 3, "%02x", id[i]);
    login_file__take(out, &got, out->logged_in_s);
    explicit_bzero(&got, sizeof got);
    if (has_word(out->scope, OAUTH_LOGIN_SCOPE)) return 0;
    /* What is granted may be less than what was asked for (RFC 6749, section 5.1). */
    return err__setf(e, ERR_REFUSED, "the vendor grants \"%.100s\" without " OAUTH_LOGIN_SCOPE,
                     out->scope);
}

static void open_browser(char *url) {
    static char name[] = "xdg-open";
    char *argv[] = {name, url, NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    if (getenv("DISPLAY") == NULL && getenv("WAYLAND_DISPLAY") == NULL) return;
    if (posix_spawn_file_actions_init(&files) != 0) return;
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    if (posix_spawnp(&pid, name, &files, NULL, argv, environ) == 0)
        fprintf(stderr, "souk: your browser shows that page\n");
    posix_spawn_file_actions_destroy(&files);
}

/* Has the running souk look at what is there. It need not run. */
static void tell_running(const struct settings *settings) {
    struct buf body = buf__init(4096);
    int code = ask_hub(settings, "POST", "/api/v1/login", &body);
    if (code == EXIT_UNAVAILABLE)
        fprintf(stderr, "souk: the next souk run goes by what is there now\n");
    buf__fini(&body);
}

static int login(const struct settings *settings, const char *redirect, int64_t wait_ns,
                 bool browser, struct err *e) {
    const struct config *c = settings->config;
    static struct attempt t;
    static struct login_file file;
    struct login_browser b;
    struct buf url = buf__init(4096);
    char said[256];
    if (!names_scope(c, OAUTH_LOGIN_SCOPE))
        return err__setf(e, ERR_CONFIG, "sources.oauth.scopes does not name " OAUTH_LOGIN_SCOPE);
    if (settings__private_oauth(c, e) != 0) return ERR_CONFIG; /* Before anybody agrees to it. */
    if (mkdir(c->state_dir, 0750) != 0 && errno != EEXIST)
        return err__setf(e, ERR_CREATE, "state_dir %.160s cannot be made: %s", c->state_dir,
                         strerror(errno));
    int code = login_browser__open(&b, redirect, e);
    if (code == 0) code = begin(&t, &b, c, &url, e);
    if (code == 0) {
        printf("Open this page and agree there:\n\n%s\n\n", url.base);
        fflush(stdout);
        if (browser) open_browser(url.base);
        code = login_browser__wait(&b, t.state, wait_ns / NS_PER_MS, t.code, e);
    }
    if (code == 0) code = exchange(&t, c, &file, e);
    if (code == 0) code = login_file__write(c->state_dir, &file, NULL, e);
    err__plain(file.username, false); /* It is the vendor's, and what is kept is written. */
    if (code == 0)
        snprintf(said, sizeof said, "Logged in as %s. You can close this tab.", file.username);
    else snprintf(said, sizeof said, "Not logged in: %.200s", e->msg);
    login_browser__show(&b, code == 0 ? 200 : 400, said);
    login_browser__close(&b);
    if (code == 0) printf("Logged in as %s.\n", file.username);
    buf__fini(&url);
    explicit_bzero(&t, sizeof t);
    explicit_bzero(&file, sizeof file);
    if (code == 0) tell_running(settings);
    return code;
}

static void put_time(char *out, size_t size, int64_t at_s) {
    time_t t = (time_t)at_s;
    struct tm tm;
    if (at_s == 0 || gmtime_r(&t, &tm) == NULL) snprintf(out, size, "unknown");
    else strftime(out, size, "%Y-%m-%d %H:%M:%S UTC", &tm);
}

static void print_file(const struct login_file *f) {
    struct buf out = buf__init(8192);
    buf__printf(&out, "{\"version\":1,\"logged_in\":%s", f->id[0] != '\0' ? "true" : "false");
    const struct {
        const char *key, *text;
    } texts[] = {{"account", f->username}, {"client_id", f->client_id}, {"scope", f->scope}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        buf__printf(&out, ",\"%s\":", texts[i].key);
        buf__json_string(&out, slice__str(texts[i].text));
    }
    buf__printf(&out,
                ",\"logged_in_s\":%" PRId64 ",\"renewed_s\":%" PRId64 ",\"access_until_s\":%" PRId64
                "}",
                f->logged_in_s, f->renewed_s, f->access_until_s);
    printf("%.*s\n", SLICE_FMT(buf__slice(&out)));
    buf__fini(&out);
}

static int show_status(const struct command *c, const struct settings *settings, struct err *e) {
    static struct login_file f;
    char since[64], renewed[64], until[64];
    int code = login_file__read(settings->config->state_dir, &f, e);
    if (c->json && (code == 0 || code == ERR_NOT_FOUND)) print_file(&f);
    if (code != 0 || c->json) {
        explicit_bzero(&f, sizeof f);
        return code;
    }
    put_time(since, sizeof since, f.logged_in_s);
    put_time(renewed, sizeof renewed, f.renewed_s);
    put_time(until, sizeof until, f.access_until_s);
    printf("account    %s\nclient     %s\nscope      %s\nlogged in  %s\nrenewed    %s\n"
           "access     until %s; the running souk renews it before, each time\n",
           err__plain(f.username, false), f.client_id, err__plain(f.scope, false), since, renewed,
           until);
    if (strcmp(f.client_id, settings->config->agent.client_id) != 0)
        printf("not used   agent.client_id is %s: log in again\n",
               settings->config->agent.client_id);
    explicit_bzero(&f, sizeof f);
    return 0;
}

static int end_verb(int code, const struct err *e, struct settings *settings) {
    if (code != 0) print_error(e);
    settings__fini(settings);
    return code == 0 ? 0 : exit_code_of(code);
}

int verb_login(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{"no-browser", no_argument, NULL, 'n'},
                                            {"redirect", required_argument, NULL, 'r'},
                                            {"wait", required_argument, NULL, 'w'},
                                            {NULL, 0, NULL, 0}};
    const char *redirect = "http://127.0.0.1/callback";
    int64_t wait_ns = WAIT_NS;
    bool browser = true;
    struct settings settings;
    struct err e = {0};
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (opt == '?') return refuse_option(c);
        if (opt == 'n') browser = false;
        if (opt == 'r') redirect = optarg;
        if (opt == 'w' && (!parse_duration(optarg, &wait_ns) || wait_ns > WAIT_MAX_NS)) {
            fprintf(stderr, "souk: --wait takes a duration such as 90s or 5m, at most 1h, not %s\n",
                    optarg);
            return EXIT_USAGE;
        }
    }
    const char *what = optind < argc ? argv[optind++] : "status";
    bool account = strcmp(what, "account") == 0;
    if (!account && strcmp(what, "status") != 0) {
        fprintf(stderr, "souk: login takes account or status, not %s; see souk login --help\n",
                what);
        return EXIT_USAGE;
    }
    int code = refuse_rest(c, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    code =
        account ? login(&settings, redirect, wait_ns, browser, &e) : show_status(c, &settings, &e);
    return end_verb(code, &e, &settings);
}

/* RFC 7009. */
static int withdraw(const struct config *c, const struct login_file *f, struct err *e) {
    struct buf form = buf__init(16384), answer = buf__init(ANSWER_MAX);
    char why[64];
    long status = 0;
    put_client(&form, c);
    put_field(&form, "token", f->refresh);
    put_field(&form, "token_type_hint", "refresh_token");
    int code = post(c, "/oauth/token/revoke", &form, &answer, &status, e);
    if (code == 0 && status != 200) {
        read_refusal(&answer, why, sizeof why);
        code = err__setf(e, ERR_REFUSED,
                         "forgotten here, but the vendor refuses to withdraw it with HTTP %ld: %s",
                         status, why);
    }
    wipe(&form);
    wipe(&answer);
    return code;
}

int verb_logout(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{NULL, 0, NULL, 0}};
    static struct login_file f;
    struct settings settings;
    struct err e = {0};
    if (getopt_long(argc, argv, "", options, NULL) != -1) return refuse_option(c);
    int code = refuse_rest(c, argc, argv);
    if (code == 0) code = load_config(c, &settings);
    if (code != 0) return code;
    code = login_file__remove(settings.config->state_dir, &f, &e);
    bool gone = code == 0 || code == ERR_CORRUPT;
    if (gone || code == ERR_NOT_FOUND)
        tell_running(&settings); /* So that it does not show the token once more. */
    if (code == 0 && has_word(f.scope, REVOKE_SCOPE)) code = withdraw(settings.config, &f, &e);
    else if (code == 0)
        printf("Forgotten here. The vendor did not grant " REVOKE_SCOPE
               ": withdraw it on its account page.\n");
    else if (code == ERR_CORRUPT)
        code = err__setf(&e, ERR_REFUSED,
                         "forgotten here, but what was there could not be read, so nothing is "
                         "withdrawn: do that on the vendor's account page");
    explicit_bzero(&f, sizeof f);
    if (code == 0) printf("Logged out.\n");
    if (code == ERR_NOT_FOUND) printf("Nobody was logged in.\n");
    return end_verb(code == ERR_NOT_FOUND ? 0 : code, &e, &settings);
}
