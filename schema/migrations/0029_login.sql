-- Whose stash a row is of: since a user can log in, the vendor says it.

ALTER TABLE bronze_account_stash_snapshot
    COMMENT COLUMN `account_hash` 'xxh3-128 of the account as the vendor names it at the login (souk login account), without one of the id of the OAuth client that asked; 32 hex digits, never a name';

ALTER TABLE ops_scope_audit
    COMMENT COLUMN `detail` 'granted, or the error code of RFC 6749, as invalid_scope; invalid_grant: the login is over';
