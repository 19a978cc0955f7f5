/* The tables of the sources that need a token: oauth and account_stashes. */
#include "../table_columns.h"

static const struct column_desc account_stash_columns[] = {
    TEXT("snapshot_id"),
    TIME("captured_at"),
    WORD("account_hash"),
    WORD("realm"),
    WORD("league"),
    WORD("league_key"),
    TEXT("tab_id"),
    TEXT("parent_tab_id"),
    TEXT("tab_name"),
    U32("tab_index"),
    WORD("tab_type"),
    TEXT("item_id"),
    TEXT("parent_item_id"),
    TEXT("item_type_id"),
    WORD("base_type"),
    TEXT("type_line"),
    TEXT("name"),
    WORD("rarity"),
    U8("frame_type"),
    U16("ilvl"),
    U8("identified"),
    U8("corrupted"),
    U32("stack_size"),
    U16("x"),
    U16("y"),
    U8("w"),
    U8("h"),
    TEXT("note"),
    U64("mods_hash"),
    TEXT("extra"),
    TEXT("payload_hash"),
    ORIGIN,
};

static const struct column_desc scope_audit_columns[] = {
    TIME("ts"),     WORD("scope"),       U8("available"), U16("http_status"),
    WORD("detail"), U32("expires_in_s"), ORIGIN,
};

const struct table_desc table_bronze_account_stash_snapshot = {
    .name = "bronze_account_stash_snapshot",
    .columns = account_stash_columns,
    .n_columns = N_OF(account_stash_columns),
};
const struct table_desc table_ops_scope_audit = {
    .name = "ops_scope_audit",
    .columns = scope_audit_columns,
    .n_columns = N_OF(scope_audit_columns),
    .patient = true,
};

void tables__account_stash_row(struct batch *b, const struct account_stash_row *row) {
    batch__begin(b);
    batch__str(b, row->snapshot_id);
    write_time(b, row->captured_wall_ns);
    batch__str(b, row->account_hash);
    batch__str(b, row->realm);
    batch__str(b, row->league);
    batch__str(b, row->league_key);
    batch__str(b, row->tab_id);
    batch__str(b, row->parent_tab_id);
    batch__str(b, row->tab_name);
    batch__u32(b, row->tab_index);
    batch__str(b, row->tab_type);
    batch__str(b, row->item_id);
    batch__str(b, row->parent_item_id);
    batch__str(b, row->item_type_id);
    batch__str(b, row->base_type);
    batch__str(b, row->type_line);
    batch__str(b, row->name);
    batch__str(b, row->rarity);
    batch__u8(b, row->frame_type);
    batch__u16(b, row->ilvl);
    batch__u8(b, row->identified);
    batch__u8(b, row->corrupted);
    batch__u32(b, row->stack_size);
    batch__u16(b, row->x);
    batch__u16(b, row->y);
    batch__u8(b, row->w);
    batch__u8(b, row->h);
    batch__str(b, row->note);
    batch__u64(b, row->mods_hash);
    batch__str(b, row->extra);
    batch__str(b, row->payload_hash);
    write_origin(b, &row->origin);
    batch__end(b);
}

void tables__scope_audit_row(struct batch *b, const struct scope_audit_row *row) {
    batch__begin(b);
    write_time(b, row->wall_ns);
    batch__str(b, row->scope);
    batch__u8(b, row->available);
    batch__u16(b, row->http_status);
    batch__str(b, row->detail);
    batch__u32(b, row->expires_in_s);
    write_origin(b, &row->origin);
    batch__end(b);
}
