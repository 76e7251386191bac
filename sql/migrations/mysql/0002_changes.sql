-- What the last transactions of each writer brought. A transaction leaves one row; its writer prunes the old ones.
create table if not exists changes (
    writer varchar(255) not null,
    sequence bigint not null comment 'of the writer, in this transaction',
    mark bigint not null comment 'random: tells a transaction from one of another index that has the same number',
    total bigint not null comment 'bytes of build_ids, of this writer and up to this row',
    build_ids mediumblob null comment '8 bytes for each build-id, its hash; null if there were too many',
    primary key (writer, sequence)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;
