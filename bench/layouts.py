#!/usr/bin/env python3
"""Compares table layouts of the build-id index on MariaDB, side by side.

The script starts its own mariadbd in a new directory, loads the same made-up
distribution into one layout after another, measures, prints Markdown tables,
stops the server and removes the directory.  It needs mariadbd,
mariadb-install-db and the Python package pymysql.

A layout holds one row for each file with a build-id in a package:

  A    text build-id, primary key (package_id, ordinal, build_id)
  Bv   as A with a binary build-id; its text is a virtual generated column with an index
  Bs   as Bv, but the generated column is stored
  Bn   as Bv, but the generated column has no index: look-ups are by bytes only
  C    text build-id, primary key (build_id, package_id, ordinal)
  Az   A with row_format=compressed key_block_size=8

  * Rows arrive in package order, 1,000 a statement and 60,000 a transaction.
    Statements and commits are timed, not the making of their text.
  * The pool should be at most a third of the table.  The flush method is
    O_DIRECT, so what is not in the pool is read from the device: --dir must lie
    on a disk, not on a tmpfs.
  * After the load the server is restarted with an empty pool; then come look-ups
    of present ids, of absent ids, packages, and packages of 1,000 rows.
  * The order of the layouts turns by one each round.  Other work on the machine
    changes the figures: compare those of one run only.
"""
import argparse
import getpass
import hashlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

import pymysql

LARGE_EVERY, LARGE_IDS = 2500, 1000   # every 2,500th pair of packages has 1,000 ids

TEXT = "varchar(128) character set ascii collate ascii_bin"
BODY = ("package_id int not null, ordinal int not null, build_id {} not null,"
        " kind enum('executable','debuginfo','both','unknown') not null, has_dwarf tinyint null,"
        " dir varchar(4096) not null, file_name varchar(4096) not null, size bigint null,"
        " mtime bigint null, sha256 char(64) character set ascii collate ascii_bin null,"
        " key (file_name(255)), ")
BY_PACKAGE = "primary key (package_id, ordinal, build_id), key (build_id)"
A = BODY.format(TEXT) + BY_PACKAGE
B = (BODY.format("varbinary(64)") + BY_PACKAGE
     + f", build_id_hex {TEXT} generated always as (lower(hex(build_id))) ")
C = BODY.format(TEXT) + "primary key (build_id, package_id, ordinal), key (package_id, ordinal)"
BY_TEXT, BY_BYTES = {"text": "build_id = '%s'"}, {"bytes": "build_id = x'%s'"}
BY_BOTH = {"text": "build_id_hex = '%s'", **BY_BYTES}
# name: (columns and keys, table options, page size, build-id literal, look-ups, view's column)
LAYOUTS = {
    "A": (A, "", 16384, "'%s'", BY_TEXT, "build_id"),
    "Bv": (B + "virtual, key (build_id_hex)", "", 16384, "x'%s'", BY_BOTH, "build_id_hex"),
    "Bs": (B + "stored, key (build_id_hex)", "", 16384, "x'%s'", BY_BOTH, "build_id_hex"),
    "Bn": (B + "virtual", "", 16384, "x'%s'", BY_BYTES, "build_id_hex"),
    "C": (C, "", 16384, "'%s'", BY_TEXT, "build_id"),
    "Az": (A, "row_format=compressed key_block_size=8", 8192, "'%s'", BY_TEXT, "build_id"),
}


def build_id(pair, i):
    """The i-th build-id of a pair, in hex; it looks random and is the same in every run."""
    return hashlib.sha1(b"%d.%d" % (pair, i)).hexdigest()


def ids_of(pair):
    """The number of build-ids of a pair: 1 to 15, 8 on average, or 1,000 in a large one."""
    return LARGE_IDS if pair % LARGE_EVERY == LARGE_EVERY - 1 else pair * 7 % 15 + 1


def name_of(pair):
    """The package's name: three words and a number."""
    words = ("lib", "gnome", "perl", "kde", "net", "x", "data", "font", "sys", "audio", "py")
    return "-".join(words[pair // 11 ** k * (k + 3) % 11] for k in range(3)) + str(pair)


def rows_of(pair, literal):
    """The rows of package 2*pair (programs) and 2*pair+1 (their debug files), as SQL text."""
    name, version = name_of(pair), f"{pair % 9}.{pair % 23}-{pair % 5 + 1}.fc40.x86_64"
    for debug, i in ((d, i) for d in (0, 1) for i in range(ids_of(pair))):
        where, file = (("/usr/bin", f"{name}-{i}"), ("/usr/lib64", f"lib{name}{i}.so.{i % 7}"),
                       (f"/usr/lib64/{name}/plugins", f"{name}_{i}.so"))[i % 3]
        if debug:
            where, file = f"/usr/lib/debug{where}", f"{file}-{version}.debug"
        sha256 = hashlib.sha256(b"%d.%d.%d" % (pair, i, debug)).hexdigest()
        yield (f"({2 * pair + debug},{i},{literal % build_id(pair, i)},{debug + 1},{debug},"
               f"'{where}','{file}',{pair * 977 + i},{1700000000 + pair},'{sha256}')")


def transactions(total, literal):
    """Lists of insert statements, a list for each transaction, and the list's number of rows."""
    start = ("insert into artifacts (package_id, ordinal, build_id, kind, has_dwarf, dir,"
             " file_name, size, mtime, sha256) values ")
    pair, waiting = 0, []
    while total:
        while len(waiting) < min(60000, total):
            waiting.extend(rows_of(pair, literal))
            pair += 1
        now, waiting = waiting[:min(60000, total)], waiting[min(60000, total):]
        total -= len(now)
        yield [start + ",".join(now[k:k + 1000]) for k in range(0, len(now), 1000)], len(now)


class Server:
    """A mariadbd of its own, without networking, in a directory of its own."""

    def __init__(self, where, pool):
        self.data, self.socket, self.process = f"{where}/data", f"{where}/s", None
        self.log = open(f"{where}/log", "a+", errors="replace")
        common = ["--no-defaults", f"--datadir={self.data}", f"--user={getpass.getuser()}"]
        subprocess.run(["mariadb-install-db", *common, "--skip-test-db",
                        "--auth-root-authentication-method=normal"],
                       check=True, stdout=self.log, stderr=self.log, timeout=120)
        self.command = [
            shutil.which("mariadbd", path=os.environ["PATH"] + ":/usr/sbin") or "mariadbd",
            *common, f"--socket={self.socket}", f"--pid-file={where}/pid", "--skip-networking",
            "--skip-log-bin", f"--innodb-buffer-pool-size={pool}M",
            "--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=O_DIRECT",
            "--innodb-buffer-pool-load-at-startup=0", "--innodb-buffer-pool-dump-at-shutdown=0",
            "--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin"]

    def start(self):
        """Starts the server with an empty pool and returns a connection."""
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            try:
                return pymysql.connect(unix_socket=self.socket, user="root", charset="utf8mb4",
                                       read_timeout=600)
            except pymysql.err.OperationalError:
                time.sleep(0.1)
        self.log.seek(0)
        raise RuntimeError(self.log.read()[-2000:])

    def stop(self):
        """Stops the server: a clean shutdown, or by force after two minutes."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def rate(cursor, queries, expected):
    """Runs the queries and returns queries a second; each must give the expected rows."""
    began = time.monotonic()
    found = [cursor.execute(query) for query in queries]
    spent = time.monotonic() - began
    if found != expected:
        raise RuntimeError(f"a look-up found another number of rows than it should: {queries[0]}")
    return len(queries) / spent


def measure(server, layout, rows, pairs, lookups, rng):
    """Loads one layout, measures it and drops it; returns figures, sizes and explain lines."""
    body, options, page, literal, conditions, column = LAYOUTS[layout]
    link = server.start()
    cursor = link.cursor()
    cursor.execute("use bench")
    cursor.execute(f"create table artifacts ({body}) engine=innodb {options}")
    times = []
    for statements, count in transactions(rows, literal):
        began = time.monotonic()
        for statement in statements:
            cursor.execute(statement)
        link.commit()
        times.append((count, time.monotonic() - began))
    figures = {}
    for name, some in (("insert rows/s", times), ("last quarter", times[len(times) * 3 // 4:])):
        figures[name] = sum(n for n, _ in some) / sum(t for _, t in some)
    cursor.execute("analyze table artifacts")
    cursor.execute(f"select index_name, stat_value * {page} from mysql.innodb_index_stats"
                   " where table_name = 'artifacts' and stat_name = 'size'")
    sizes = {key: int(size) / rows for key, size in cursor.fetchall()}
    link.close()
    server.stop()
    sizes = {"file": os.path.getsize(f"{server.data}/bench/artifacts.ibd") / rows, **sizes}

    cursor = server.start().cursor()
    cursor.execute("use bench")
    ask = "select a.*, p.* from artifacts a join packages p using (package_id) where a."
    for way, condition in conditions.items():
        present = [build_id(p, rng.randrange(ids_of(p))) for p in rng.sample(range(pairs), lookups)]
        absent = [build_id(-1, rng.randrange(10 ** 12)) for _ in range(lookups)]
        for name, ids, count in (("present", present, 2), ("absent", absent, 0)):
            figures[f"{name}/s by {way}"] = rate(cursor, [ask + condition % x for x in ids],
                                                 [count] * lookups)
    whole = "select * from artifacts where package_id = %d order by ordinal"
    some = [p for p in rng.sample(range(pairs), 1100) if ids_of(p) < LARGE_IDS][:1000]
    large = range(LARGE_EVERY - 1, pairs, LARGE_EVERY)
    for name, these in (("packages/s", some), ("1,000-row packages/s", large)):
        if these:
            figures[name] = rate(cursor, [whole % (2 * p + p % 2) for p in these],
                                 [ids_of(p) for p in these])
    cursor.execute(f"create or replace view v as select a.{column} as buildid, p.name, a.dir,"
                   " a.file_name from artifacts a join packages p using (package_id)")
    cursor.execute(f"explain select * from v where buildid = '{build_id(1, 0)}'")
    explained = [" ".join(f"{d[0]}={value}" for d, value in zip(cursor.description, row)
                          if d[0] not in ("id", "select_type", "possible_keys"))
                 for row in cursor.fetchall()]
    cursor.execute("drop table artifacts")
    server.stop()
    return figures, sizes, explained


def main():
    """Reads the options, runs the rounds and prints the tables."""
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, text in (
            ("--rows", 1000000, "rows of the table"), ("--pool", 128, "InnoDB buffer pool, MiB"),
            ("--rounds", 3, "rounds"), ("--lookups", 3000, "look-ups of each sort"),
            ("--layouts", "A,Bv,C", "of " + ",".join(LAYOUTS)),
            ("--once", "", "layouts for the first round only"),
            ("--minutes", 60.0, "no further layout is begun after that time"),
            ("--dir", ".", "where to make the temporary directory")):
        options.add_argument(name, default=default, type=type(default), help=text)
    args = options.parse_args()
    every, once = ([x for x in text.split(",") if x] for text in (args.layouts, args.once))
    pairs, left = 0, args.rows
    while left >= 2 * ids_of(pairs):
        left -= 2 * ids_of(pairs)
        pairs += 1
    if pairs < max(args.lookups, 1100) or not set(every + once) <= set(LAYOUTS):
        options.error("too few rows for the look-ups, or an unknown layout")
    signal.signal(signal.SIGTERM, signal.default_int_handler)   # so that finally runs
    end, results, sizes, explained = time.monotonic() + args.minutes * 60, {}, {}, {}
    where, server = tempfile.mkdtemp(prefix="layouts", dir=os.path.abspath(args.dir)), None
    try:
        server = Server(where, args.pool)
        cursor = server.start().cursor()
        cursor.execute("create database bench")
        cursor.execute("create table bench.packages (package_id int primary key, name varchar(255),"
                       " version varchar(64), arch varchar(16)) engine=innodb")
        cursor.executemany("insert into bench.packages values (%s, %s, %s, 'x86_64')",
                           [(2 * p + d, name_of(p) + "-debuginfo" * d, f"{p % 9}.{p % 23}-1.fc40")
                            for p in range(pairs + 1) for d in (0, 1)])
        cursor.execute("commit")
        cursor.execute("analyze table bench.packages")
        server.stop()
        for turn in range(args.rounds):
            at = turn % len(every)
            for layout in every[at:] + every[:at] + (once if turn == 0 else []):
                if time.monotonic() > end:
                    break
                figures, sizes[layout], explained[layout] = measure(
                    server, layout, args.rows, pairs, args.lookups, random.Random(turn))
                print(turn + 1, layout, *(f"{k} {v:.0f};" for k, v in figures.items()), flush=True)
                for key, value in figures.items():
                    results.setdefault(key, {}).setdefault(layout, []).append(value)
    finally:
        if server:
            server.stop()
        shutil.rmtree(where)
    names = [x for x in every + once if x in sizes]
    lines = [[f"median (min), {args.rows:,} rows, {args.pool} MiB pool", *names],
             ["---"] * (len(names) + 1)]
    for key, by in results.items():
        lines.append([key] + [f"{statistics.median(by[x]):,.0f} ({min(by[x]):,.0f})" if x in by
                              else "" for x in names])
    for key in dict.fromkeys(k for x in names for k in sizes[x]):
        lines.append([f"bytes a row: {key}"] + [f"{sizes[x].get(key, 0):.0f}" for x in names])
    print("\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    print("\n`explain select * from v where buildid = '...'`:\n")
    print("\n".join(f"* {x}: {line}" for x in names for line in explained[x]))


if __name__ == "__main__":
    main()
