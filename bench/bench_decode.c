/* How fast is a page of public stashes turned into columns, against parsing its JSON alone?
 *
 *     bench_decode [ROUNDS]
 *
 * Takes a real page of 2024 from SOUK_SHARED_DATA when it is there, else one of the same shape made
 * here. Prints both in MB/s of JSON, the ratio, ns an item, and the peak of resident memory. Rounds
 * of both alternate, and the fastest of each counts. */
#include "../tests/golden/golden.h"
#include "souk/core/clock.h"
#include "souk/tables.h"
#include <sys/resource.h>
#include <yyjson.h>

enum { ROUNDS = 60 };

/* 77 listed stashes of 37 items and 816 tombstones: the mix of the real page. */
static void make_page(struct buf *out) {
    *out = buf__init((size_t)64 << 20);
    buf__append_str(out, "[");
    for (int s = 0; s < 893; s++) {
        bool listed = s % 12 == 0;
        buf__printf(out,
                    "%s{\"id\":\"%064x\",\"public\":%s,\"accountName\":%s,\"stash\":%s,"
                    "\"stashType\":\"PremiumStash\",\"league\":%s,\"items\":[",
                    s == 0 ? "" : ",", (unsigned)s * 2654435761u, listed ? "true" : "false",
                    listed ? "\"someone\"" : "null", listed ? "\"Shop 7\"" : "null",
                    listed ? "\"Standard\"" : "null");
        for (int i = 0; listed && i < 38; i++)
            buf__printf(
                out,
                "%s{\"verified\":false,\"w\":1,\"h\":1,\"icon\":\"https://web.poecdn.com/gen/image/"
                "WzI1LDE0LHsiZiI6IjJESXRlbXMvQXJtb3Vycy9IZWxtZXRzL0hlbG1ldERleDkiLCJ3IjoxLCJoIjoxfV"
                "0/"
                "abcdef0123/Helmet.png\",\"league\":\"Standard\",\"id\":\"%064x\",\"name\":\"Doom "
                "Crown\",\"typeLine\":\"Lion Pelt\",\"baseType\":\"Lion Pelt\",\"rarity\":\"Rare\","
                "\"ilvl\":84,\"identified\":true,%s\"properties\":[{\"name\":\"Evasion Rating\","
                "\"values\":[[\"%d\",0]],\"displayMode\":0,\"type\":17}],\"requirements\":[{"
                "\"name\":"
                "\"Level\",\"values\":[[\"70\",0]],\"displayMode\":0}],\"explicitMods\":[\"+%d to "
                "maximum Life\",\"+%d%% to Fire Resistance\",\"%d%% increased Evasion "
                "Rating\",\"+31%% to "
                "Cold Resistance\"],\"frameType\":2,\"extended\":{\"category\":\"armour\","
                "\"subcategories\":[\"helmet\"]},\"x\":%d,\"y\":%d,\"inventoryId\":\"Stash7\"}",
                i == 0 ? "" : ",", (unsigned)(s * 100 + i),
                i % 11 == 0 ? "\"note\":\"~price 2/35 chaos\"," : "", 400 + i, i + 20, i + 7,
                i + 31, i % 12, i / 12);
        buf__append_str(out, "]}");
    }
    buf__append_str(out, "]");
    assert(!out->failed);
}

int main(int argc, char **argv) {
    struct buf body;
    int n_rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;
    bool real =
        golden__load("SOUK_SHARED_DATA", "poe/psapi/page-pc-2024-04.stashes.json.gz", &body);
    if (n_rounds < 1) return 1;
    if (!real) make_page(&body);
    golden__envelope(&body);
    const char *const followed[] = {"Standard", "Hardcore"};
    const struct decode_context context = {.followed = followed, .n_followed = 2};
    const struct stream_spec stream = {.key = "pc", .realm = "pc"};
    const struct page page = {.stream = &stream,
                              .cursor_from = SLICE_LIT("1-1-1-1-1"),
                              .cursor_to = SLICE_LIT("2-2-2-2-2"),
                              .received_wall_ns = INT64_C(1800000000) * NS_PER_S,
                              .lsn = 1,
                              .body = buf__slice(&body)};
    const struct source_type *psapi = source__find("psapi");
    int64_t parse_ns = INT64_MAX, decode_ns = INT64_MAX;
    size_t n_items = 0, n_bytes = 0;
    for (int round = 0; round < n_rounds; round++) {
        int64_t t0 = clock__stopwatch_ns();
        yyjson_doc *doc = yyjson_read(body.base, body.len, YYJSON_READ_NOFLAG);
        assert(doc != NULL);
        yyjson_doc_free(doc);
        int64_t t1 = clock__stopwatch_ns();
        struct rows rows = {0};
        struct err e;
        if (psapi->decode(&page, &context, &rows, &e) != 0) {
            fprintf(stderr, "%s\n", e.msg);
            return 1;
        }
        int64_t t2 = clock__stopwatch_ns();
        n_items = golden__count(&rows, &table_bronze_public_stash);
        n_bytes = 0;
        for (size_t i = 0; i < rows.n; i++) n_bytes += batch__bytes(&rows.batches[i].batch);
        rows__fini(&rows);
        if (t1 - t0 < parse_ns) parse_ns = t1 - t0;
        if (t2 - t1 < decode_ns) decode_ns = t2 - t1;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double mb = (double)body.len / 1e6;
    double parse_ms = (double)parse_ns / 1e6, decode_ms = (double)decode_ns / 1e6;
    printf("%s page, %zu items, %.1f MB of JSON, %.1f MB of columns\n", real ? "real" : "made",
           n_items, mb, (double)n_bytes / 1e6);
    printf("%-22s %8s %8s %9s %7s\n", "", "ms", "MB/s", "ns/item", "ratio");
    printf("%-22s %8.2f %8.0f %9.0f %7s\n", "yyjson_read alone", parse_ms, mb * 1e3 / parse_ms,
           (double)parse_ns / (double)n_items, "1");
    printf("%-22s %8.2f %8.0f %9.0f %7.2f\n", "to columns, all in all", decode_ms,
           mb * 1e3 / decode_ms, (double)decode_ns / (double)n_items, parse_ms / decode_ms);
    printf("{\"bench\":\"decode\",\"page\":\"%s\",\"json_bytes\":%zu,\"items\":%zu,\"column_"
           "bytes\":%zu,"
           "\"parse_mb_per_s\":%.0f,\"decode_mb_per_s\":%.0f,\"ratio\":%.2f,\"ns_per_item\":%.0f,"
           "\"peak_rss_kib\":%ld}\n",
           real ? "real" : "made", body.len, n_items, n_bytes, mb / ((double)parse_ns / 1e9),
           mb / ((double)decode_ns / 1e9), (double)parse_ns / (double)decode_ns,
           (double)decode_ns / (double)n_items, usage.ru_maxrss);
    buf__fini(&body);
    return 0;
}
