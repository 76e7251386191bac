//! Differences between the databases: fragments of SQL, and error codes.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteError;
use sqlx::{MySql, Sqlite};

/// The fragments of SQL that differ.
pub(crate) trait Dialect {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;
    /// Starts an INSERT of many rows. SQLite would save every page before such a statement in a journal to undo it
    /// alone; `or fail` avoids that, as any failure rolls back the whole transaction.
    const INSERT: &'static str;
    /// Ends a SELECT whose rows this transaction changes.
    const FOR_UPDATE: &'static str;
    /// Suffix that makes a prefix the lower bound of all texts with that prefix. MySQL compares a shorter text as if it
    /// were padded with blanks, so that it is greater than one that continues with a control character.
    const LOWEST_SUFFIX: &'static str;
    /// Locks packages against transactions that insert claims, until the end of this one. Empty where there is one
    /// writer at a time.
    const LOCK_CLAIMS_SHARED: &'static str;
    /// The lock of transactions that insert claims.
    const LOCK_CLAIMS: &'static str;
    /// Excludes other transactions that pair kernel modules, until the end of this one. Empty where there is one writer
    /// at a time.
    const LOCK_MODULES: &'static str;
    /// Ends the INSERT of a location. Columns without a new value keep theirs if the size is the same.
    const UPDATE_LOCATION: &'static str;
    /// Ends the INSERT of packages into the rows of claimed ones. Without a distribution or a build of Koji theirs
    /// stays.
    const UPDATE_CLAIMED: &'static str;
    /// Ends the INSERT of a membership. One that ended begins again.
    const UPDATE_MEMBERSHIP: &'static str;
    /// Ends the INSERT of a store.
    const UPDATE_STORE: &'static str;
    /// Ends the INSERT of a cursor.
    const UPDATE_CURSOR: &'static str;
    /// Ends the INSERT of builds that exist.
    const UPDATE_BUILD: &'static str;
    /// Ends the INSERT of a build's tag: the latest times stay.
    const UPDATE_TAG: &'static str;
    /// Ends the INSERT of jobs: each row that exists is requested once more. A delayed request for work that is under
    /// way does not make it due at its end, but at the time of the request. Without failures, `next_try_at` is the time
    /// of a request.
    const REQUEST_AGAIN: &'static str;
    /// Ends the INSERT of jobs: each row that exists stays as it is.
    const LEAVE_JOB: &'static str;
    /// Ends the INSERT of poison: what comes again keeps its row.
    const UPDATE_POISON: &'static str;
    /// The time of the database, seconds since 1970.
    const NOW: &'static str;
    /// Ends the INSERT of a writer.
    const COUNT_TRANSACTION: &'static str;
}

impl Dialect for Sqlite {
    const BEGIN: &'static str = "begin immediate";
    const INSERT: &'static str = "insert or fail into ";
    const FOR_UPDATE: &'static str = "";
    const LOWEST_SUFFIX: &'static str = "";
    const LOCK_CLAIMS_SHARED: &'static str = "";
    const LOCK_CLAIMS: &'static str = "";
    const LOCK_MODULES: &'static str = "";
    const UPDATE_LOCATION: &'static str = " on conflict (store_id, path_hash, package_id) do update set \
        mtime_ns = case when excluded.mtime_ns is null and size is excluded.size then mtime_ns else excluded.mtime_ns \
        end, \
        header_start = case when excluded.header_start is null and size is excluded.size then header_start else \
        excluded.header_start end, \
        header_end = case when excluded.header_end is null and size is excluded.size then header_end else \
        excluded.header_end end, \
        checksum_kind = case when excluded.checksum_kind is null and size is excluded.size then checksum_kind else \
        excluded.checksum_kind end, \
        checksum = case when excluded.checksum is null and size is excluded.size then checksum else excluded.checksum \
        end, \
        signing_key = case when excluded.signing_key is null and size is excluded.size then signing_key else \
        excluded.signing_key end, \
        size = excluded.size, \
        first_seen = coalesce(first_seen, excluded.first_seen), last_seen = excluded.last_seen, gone_at = null, \
        derived = 0";
    const UPDATE_CLAIMED: &'static str = " on conflict (id) do update set \
        identity = excluded.identity, identity_kind = excluded.identity_kind, format = excluded.format, \
        name = excluded.name, epoch = excluded.epoch, version = excluded.version, `release` = excluded.`release`, \
        arch = excluded.arch, nvra = excluded.nvra, source_rpm = excluded.source_rpm, \
        built_at = excluded.built_at, state = excluded.state, indexed_at = excluded.indexed_at, \
        distro = case when excluded.distro = '' then distro else excluded.distro end, \
        koji_build = case when excluded.koji_instance is null then koji_build else excluded.koji_build end, \
        koji_volume = case when excluded.koji_instance is null then koji_volume else excluded.koji_volume end, \
        koji_instance = coalesce(excluded.koji_instance, koji_instance)";
    const UPDATE_MEMBERSHIP: &'static str = " on conflict (package_id, repository_id) do update set \
        last_seen = excluded.last_seen, ended_at = null";
    const UPDATE_STORE: &'static str = " on conflict (name) do update set \
        tier = excluded.tier, base_url = excluded.base_url, root = excluded.root, priority = excluded.priority, \
        pattern = excluded.pattern, distros = excluded.distros, \
        absent_statuses = excluded.absent_statuses, redirect_hosts = excluded.redirect_hosts, \
        allow_private = excluded.allow_private";
    const UPDATE_CURSOR: &'static str = " on conflict (name) do update set \
        value = excluded.value, updated_at = excluded.updated_at";
    const UPDATE_BUILD: &'static str = " on conflict (instance, build) do update set \
        nvr = excluded.nvr, name = excluded.name, version = excluded.version, `release` = excluded.`release`, \
        epoch = excluded.epoch, state = excluded.state, volume = excluded.volume, draft = excluded.draft, \
        completed_at = excluded.completed_at, imported_at = excluded.imported_at, \
        checked_at = excluded.checked_at, deleted_at = excluded.deleted_at, \
        deleted_after = excluded.deleted_after";
    const UPDATE_TAG: &'static str = " on conflict (instance, build, tag) do update set \
        tagged_at = max(coalesce(tagged_at, excluded.tagged_at), coalesce(excluded.tagged_at, tagged_at)), \
        untagged_at = max(coalesce(untagged_at, excluded.untagged_at), coalesce(excluded.untagged_at, untagged_at))";
    const REQUEST_AGAIN: &'static str = " on conflict (`key`) do update set \
        requests = requests + (claimed_by is null or excluded.next_try_at <= excluded.queued_at), \
        again_at = max(coalesce(again_at, 0), excluded.next_try_at, case attempts when 0 then next_try_at else 0 end), \
        payload = excluded.payload, next_try_at = min(next_try_at, excluded.next_try_at), \
        attempts = 0, last_error = null";
    const LEAVE_JOB: &'static str = " on conflict (`key`) do nothing";
    const UPDATE_POISON: &'static str = " on conflict (digest) do update set \
        reason = excluded.reason, received_at = excluded.received_at";
    const NOW: &'static str = "cast(strftime('%s', 'now') as integer)";
    const COUNT_TRANSACTION: &'static str = " on conflict (writer) do update set sequence = sequence + 1";
}

impl Dialect for MySql {
    const BEGIN: &'static str = "begin";
    const INSERT: &'static str = "insert into ";
    const FOR_UPDATE: &'static str = " for update";
    const LOWEST_SUFFIX: &'static str = "\u{1}";
    const LOCK_CLAIMS_SHARED: &'static str = "select until from leases where name = 'claims' lock in share mode";
    const LOCK_CLAIMS: &'static str = "select until from leases where name = 'claims' for update";
    // An update, because Galera certifies writes only.
    const LOCK_MODULES: &'static str = "update leases set until = until + 1 where name = 'modules'";
    const UPDATE_LOCATION: &'static str = " on duplicate key update \
        mtime_ns = case when values(mtime_ns) is null and size <=> values(size) then mtime_ns else values(mtime_ns) \
        end, \
        header_start = case when values(header_start) is null and size <=> values(size) then header_start else \
        values(header_start) end, \
        header_end = case when values(header_end) is null and size <=> values(size) then header_end else \
        values(header_end) end, \
        checksum_kind = case when values(checksum_kind) is null and size <=> values(size) then checksum_kind else \
        values(checksum_kind) end, \
        checksum = case when values(checksum) is null and size <=> values(size) then checksum else values(checksum) \
        end, \
        signing_key = case when values(signing_key) is null and size <=> values(size) then signing_key else \
        values(signing_key) end, \
        size = values(size), \
        first_seen = coalesce(first_seen, values(first_seen)), last_seen = values(last_seen), gone_at = null, \
        derived = 0";
    const UPDATE_CLAIMED: &'static str = " on duplicate key update \
        identity = values(identity), identity_kind = values(identity_kind), format = values(format), \
        name = values(name), epoch = values(epoch), version = values(version), `release` = values(`release`), \
        arch = values(arch), nvra = values(nvra), source_rpm = values(source_rpm), built_at = values(built_at), \
        state = values(state), indexed_at = values(indexed_at), \
        distro = case when values(distro) = '' then distro else values(distro) end, \
        koji_build = case when values(koji_instance) is null then koji_build else values(koji_build) end, \
        koji_volume = case when values(koji_instance) is null then koji_volume else values(koji_volume) end, \
        koji_instance = coalesce(values(koji_instance), koji_instance)";
    const UPDATE_MEMBERSHIP: &'static str = " on duplicate key update \
        last_seen = values(last_seen), ended_at = null";
    const UPDATE_STORE: &'static str = " on duplicate key update \
        tier = values(tier), base_url = values(base_url), root = values(root), priority = values(priority), \
        pattern = values(pattern), distros = values(distros), \
        absent_statuses = values(absent_statuses), redirect_hosts = values(redirect_hosts), \
        allow_private = values(allow_private)";
    const UPDATE_CURSOR: &'static str = " on duplicate key update \
        value = values(value), updated_at = values(updated_at)";
    const UPDATE_BUILD: &'static str = " on duplicate key update \
        nvr = values(nvr), name = values(name), version = values(version), `release` = values(`release`), \
        epoch = values(epoch), state = values(state), volume = values(volume), draft = values(draft), \
        completed_at = values(completed_at), imported_at = values(imported_at), \
        checked_at = values(checked_at), deleted_at = values(deleted_at), deleted_after = values(deleted_after)";
    const UPDATE_TAG: &'static str = " on duplicate key update \
        tagged_at = greatest(coalesce(tagged_at, values(tagged_at)), coalesce(values(tagged_at), tagged_at)), \
        untagged_at = greatest(coalesce(untagged_at, values(untagged_at)), coalesce(values(untagged_at), untagged_at))";
    const REQUEST_AGAIN: &'static str = " on duplicate key update \
        requests = requests + (claimed_by is null or values(next_try_at) <= values(queued_at)), \
        again_at = greatest(\
            coalesce(again_at, 0), values(next_try_at), case attempts when 0 then next_try_at else 0 end), \
        payload = values(payload), next_try_at = least(next_try_at, values(next_try_at)), \
        attempts = 0, last_error = null";
    const LEAVE_JOB: &'static str = " on duplicate key update id = id";
    const UPDATE_POISON: &'static str = " on duplicate key update \
        reason = values(reason), received_at = values(received_at)";
    const NOW: &'static str = "cast(unix_timestamp() as signed)";
    const COUNT_TRANSACTION: &'static str = " on duplicate key update sequence = sequence + 1";
}

/// Session setting of a MySQL writer: a value that does not fit is an error and never truncated.
pub(crate) const MYSQL_STRICT: &str = "set session sql_mode = concat(@@session.sql_mode, ',STRICT_ALL_TABLES')";
/// Isolation of a writer: no gap locks of reads, on which parallel writers would deadlock.
pub(crate) const MYSQL_READ_COMMITTED: &str = "set session transaction isolation level read committed";
/// Isolation of a writer where `binlog_format` is `STATEMENT`: InnoDB refuses to write there under `READ COMMITTED`
/// (error 1665). Transactions rely on reading the last commits of others, which `REPEATABLE READ` does not show; here
/// their reads acquire locks.
pub(crate) const MYSQL_SERIALIZABLE: &str = "set session transaction isolation level serializable";

/// Ends idle transactions on MariaDB. If a writer's connection breaks in the middle of a transaction, the server would
/// hold its locks for hours, and the writer's next connection would wait for them. MySQL does not know this setting.
pub(crate) const MARIADB_END_IDLE_TRANSACTIONS: &str = "set session idle_transaction_timeout = 5";
/// Ends idle connections on MySQL, which cannot end idle transactions. A writer outside of a transaction reconnects.
pub(crate) const MYSQL_END_IDLE_CONNECTIONS: &str = "set session wait_timeout = 60";

/// True if this transaction lost against another one, so that a retry can succeed.
///
/// MySQL: 1213 deadlock (and Galera's certification conflict), 1205 lock wait timeout, 1047 node is not ready, 1062
/// another writer inserted the same package first. SQLite: busy, locked.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => matches!(error.number(), 1213 | 1205 | 1047 | 1062),
        None => error.code().and_then(|code| code.parse().ok()).is_some_and(|code: u32| matches!(code & 0xff, 5 | 6)),
    }
}

/// True if the connection is dead, for example from before a restart of the database.
pub(crate) fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => {
            // 1053 server shutdown, 1927 connection killed, 2006 gone away, 4031 closed for inactivity
            error
                .try_downcast_ref::<MySqlDatabaseError>()
                .is_some_and(|error| matches!(error.number(), 1053 | 1927 | 2006 | 4031))
        }
        _ => false,
    }
}

/// True if the database is unavailable, perhaps for a moment: the connection broke, none could be made, or the server
/// refuses more.
pub(crate) fn is_unavailable(error: &sqlx::Error) -> bool {
    is_connection_lost(error)
        || match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
            sqlx::Error::Database(error) => {
                // 1040 too many connections, 1203 and 1226 too many of this user
                error
                    .try_downcast_ref::<MySqlDatabaseError>()
                    .is_some_and(|error| matches!(error.number(), 1040 | 1203 | 1226))
            }
            _ => false,
        }
}

/// True if SQLite could not read or write its file.
pub(crate) fn is_io_error(error: &sqlx::Error) -> bool {
    // 8 read-only, 10 input or output, 14 cannot be opened
    matches!(primary_code(error), Some(8 | 10 | 14))
}

/// Returns SQLite's primary result code (sqlite.org, "Result and Error Codes", section 2).
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let sqlx::Error::Database(error) = error else { return None };
    error.code()?.parse().ok().map(|code: u32| code & 0xff)
}

/// True if SQLite found pages in its file, or in the log beside it, that do not belong together (11).
pub(crate) fn is_malformed(error: &sqlx::Error) -> bool {
    let is_sqlite = matches!(error, sqlx::Error::Database(error) if error.try_downcast_ref::<SqliteError>().is_some());
    is_sqlite && primary_code(error) == Some(11)
}

/// True if SQLite could not open its file.
pub(crate) fn is_cannot_open(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(14)
}

/// True if a table is missing.
pub(crate) fn is_missing_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => error.number() == 1146,
        None => error.message().starts_with("no such table"),
    }
}
