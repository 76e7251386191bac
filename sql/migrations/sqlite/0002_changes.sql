-- What the last transactions of each writer brought. A transaction leaves one row; its writer prunes the old ones.
create table changes (
    writer text not null,
    sequence integer not null, -- of the writer, in this transaction
    mark integer not null, -- random: tells a transaction from one of another index that has the same number
    total integer not null, -- bytes of build_ids, of this writer and up to this row
    build_ids blob null, -- 8 bytes for each build-id, its hash; null if there were too many
    primary key (writer, sequence)
);
