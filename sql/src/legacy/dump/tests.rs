use super::*;
use crate::legacy::{MAX_VALUE_BYTES, OriginalValue};

/// A row in short: elfname, directory, build-id, rpm_name.
type Short = [Option<String>; 4];

fn short(row: &OriginalRow) -> Short {
    [&row.elf_name, &row.directory, &row.build_id, &row.rpm_name].map(|value| match value {
        OriginalValue::Null => None,
        OriginalValue::Bytes(bytes) => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        OriginalValue::TooLong => Some("too long".to_owned()),
    })
}

/// Passes on one byte at a time: results must not depend on the size of reads.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

fn read_all(input: impl Read) -> (Vec<OriginalRow>, DumpSummary, Result<(), String>) {
    let (mut rows, mut summary) = (Vec::new(), DumpSummary::default());
    let result = read(input, &mut summary, |row, _| {
        rows.push(row);
        ControlFlow::Continue(())
    });
    (rows, summary, result.map_err(|error| error.to_string()))
}

fn rows_of(dump: &[u8]) -> (Vec<Short>, Result<(), String>) {
    let (rows, summary, result) = read_all(dump);
    assert_eq!((rows.clone(), summary, result.clone()), read_all(Trickle(dump)));
    (rows.iter().map(short).collect(), result)
}

#[track_caller]
fn expect(dump: &str, expected: &[[&str; 4]]) {
    let expected: Vec<Short> = expected.iter().map(|row| row.map(|value| Some(value.to_owned()))).collect();
    assert_eq!(rows_of(dump.as_bytes()), (expected, Ok(())), "{dump}");
}

const CREATE: &str = "CREATE TABLE `dark_gnubuildid` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n  `elfname` \
    varchar(255) DEFAULT NULL,\n  `installpath` varchar(500) DEFAULT NULL,\n  `buildid` varchar(100) DEFAULT NULL,\n  \
    `rpm_name` varchar(255) DEFAULT NULL,\n  `distro` varchar(100) DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY \
    `gnubuildid_id` (`buildid`)\n) ENGINE=InnoDB DEFAULT CHARSET=latin1;\n";

#[test]
fn rows_of_mysqldump_are_read_with_their_escapes() {
    let dump = format!(
        "-- MySQL dump 10.13\n/*!40101 SET NAMES utf8 */;\n{CREATE}LOCK TABLES `dark_gnubuildid` WRITE;\n/*!40000 \
         ALTER TABLE `dark_gnubuildid` DISABLE KEYS */;\nINSERT INTO `dark_gnubuildid` VALUES (1,'a\\'b','/b\\\\in',\
         'x''y','\\0\\n\\t\\r\\Z\\\"',NULL),(2,'),(','/;--','#','/*','\\%'),\n(3,0x6162,X'63',_binary 'd',-1.5e3,'');\n\
         UNLOCK TABLES;\n-- Dump completed on 2012-05-02\n"
    );
    expect(
        &dump,
        &[["a'b", "/b\\in", "x'y", "\0\n\t\r\u{1a}\""], ["),(", "/;--", "#", "/*"], ["ab", "c", "d", "-1.5e3"]],
    );
}

#[test]
fn lists_of_columns_give_their_order_and_names_are_qualified() {
    for start in [
        "INSERT INTO `buildid_gnubuildid` (`rpm_name`, `id`, `build_id`, `instpath`, `elfname`) VALUES",
        "insert ignore into darkserver.BUILDID_GNUBUILDID(rpm_name,id,build_id,instpath,elfname)values",
        "REPLACE INTO \"public\".\"buildid_gnubuildid\" (rpm_name, id, build_id, instpath, elfname) VALUES\n",
        "INSERT INTO public.buildid_gnubuildid (rpm_name, id, build_id, instpath, elfname) OVERRIDING SYSTEM VALUE \
         VALUES",
    ] {
        expect(&format!("{start} ('n',1,'b','i','e');"), &[["e", "i", "b", "n"]]);
        expect(&format!("{start} ('n',1,'b'::text,'i','e') ON CONFLICT DO NOTHING;"), &[["e", "i", "b", "n"]]);
    }
}

#[test]
fn dumps_of_postgresql_have_other_escapes() {
    let dump = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\nSET standard_conforming_strings = on;\nCREATE \
        FUNCTION f() RETURNS trigger AS $_$ INSERT INTO buildid_gnubuildid VALUES (';'); $_$ LANGUAGE sql;\nCREATE \
        TABLE public.buildid_gnubuildid (\n    id integer DEFAULT nextval('s'::regclass) NOT NULL,\n    elfname text \
        NOT NULL,\n    instpath text NOT NULL,\n    build_id text NOT NULL,\n    rpm_name text NOT NULL,\n    \
        CONSTRAINT c CHECK ((id > 0))\n);\n\
        INSERT INTO public.buildid_gnubuildid VALUES (1, 'a\\', '/b''c', E'\\'\\x41\\101\\n', \
        'd');\nCOPY public.auth_user (id, password) FROM stdin;\n1\tINSERT INTO buildid_gnubuildid VALUES (1);\n\\.\n\n\
        COPY public.buildid_gnubuildid (id, elfname, instpath, build_id, rpm_name) FROM stdin;\n2\ta\\tb\\\\\t/b\\nc\t\
        \\N\td\\x41\\101\n3\t\\.x\t\t-\té\r\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n";
    let (rows, result) = rows_of(dump.as_bytes());
    assert_eq!(result, Ok(()));
    let row = |values: [&str; 4]| values.map(|value| (value != "NULL").then(|| value.to_owned()));
    assert_eq!(
        rows,
        [row(["a\\", "/b'c", "'AA\n", "d"]), row(["a\tb\\", "/b\nc", "NULL", "dAA"]), row([".x", "", "-", "Ã©"]),]
    );
}

#[test]
fn dumps_of_sqlite_are_read() {
    expect(
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE IF NOT EXISTS \"buildid_gnubuildid\" (\"id\" \
         integer NOT NULL PRIMARY KEY, \"elfname\" text NOT NULL, \"instpath\" text NOT NULL, \"build_id\" text NOT \
         NULL, \"rpm_name\" text NOT NULL, \"distro\" text NOT NULL);\n\
         INSERT INTO buildid_gnubuildid VALUES(1,'a\\','b','c','d','e');\nCOMMIT;\n",
        &[["a\\", "b", "c", "d"]],
    );
}

#[test]
fn nothing_is_read_of_other_tables_triggers_and_procedures() {
    let other = "CREATE TABLE `auth_user` (`password` text);\nINSERT INTO `auth_user` VALUES ('); INSERT INTO \
        `dark_gnubuildid` VALUES (1,2,3,4,5,6);','\\'');\nDELIMITER ;;\nCREATE PROCEDURE p() BEGIN INSERT INTO \
        dark_gnubuildid VALUES (1); END ;;\nDELIMITER ;\n/*!50003 CREATE TRIGGER t INSERT INTO dark_gnubuildid VALUES \
        (1) */;\n-- INSERT INTO dark_gnubuildid VALUES (1);\n# INSERT INTO dark_gnubuildid VALUES (1);\nCREATE TABLE \
        dark_gnubuildid_old (`id` int);\nCREATE INDEX i ON dark_gnubuildid (id);\n";
    expect(&format!("{other}{CREATE}{other}"), &[]);
}

#[test]
fn broken_dumps_state_where_what_was_expected_and_what_was_found() {
    let insert = "INSERT INTO `dark_gnubuildid` VALUES (1,'a','b','c','d','e')";
    for (dump, rows, expected) in [
        (
            format!("{CREATE}{insert},(2,'x"),
            1,
            "line 11, byte 434: expected the end of the string that begins in line 11, byte 432",
        ),
        (format!("{CREATE}{insert}"), 1, "expected `,` or `;` behind a row, found the end of the file"),
        (format!("{CREATE}{insert},(2,'x','y')"), 1, "expected a row of 6 values, one for each column, found 3 values"),
        (format!("{CREATE}{insert} 1 2"), 1, "expected the end of a statement"),
        (format!("{insert};"), 0, "line 1, byte 6: expected CREATE TABLE dark_gnubuildid before its rows"),
        (
            format!("{CREATE}{insert},(now());"),
            1,
            "expected a value: a string, a number, hex digits or NULL, found a word",
        ),
        ("CREATE TABLE dark_gnubuildid (id int, elfname text);".to_owned(), 0, "dark_gnubuildid: id, elfname"),
        ("INSERT INTO dark_gnubuildid (id, elfname) VALUES".to_owned(), 0, "dark_gnubuildid: id, elfname"),
        (format!("-- MySQL dump 10\n{CREATE}{insert};\n"), 1, "expected the comment \"-- Dump completed\""),
        ("/* secret".to_owned(), 0, "expected the end (*/) of the comment that begins in line 1"),
        (
            "COPY buildid_gnubuildid (elfname, instpath, build_id, rpm_name) FROM stdin;\na\tb\tc\td\na\tb".to_owned(),
            1,
            "line 3, byte 87: expected the end of a row of COPY",
        ),
        (
            "COPY buildid_gnubuildid (elfname, instpath, build_id, rpm_name) FROM stdin;\na\tb\tc\n\\.\n".to_owned(),
            0,
            "line 2, byte 76: expected a row of 4 values, one for each column, found 3 values",
        ),
        (
            "COPY buildid_gnubuildid (elfname, instpath, build_id, rpm_name) FROM stdin;\na\tb\tc\td\n".to_owned(),
            1,
            "expected the end of the rows of COPY: \\.",
        ),
        (
            "COPY buildid_gnubuildid (elfname, instpath, build_id, rpm_name) FROM stdin WITH (FORMAT csv);\n"
                .to_owned(),
            0,
            "expected COPY in the text format",
        ),
        ("PGDMP\x01\x0e".to_owned(), 0, "pg_restore -f - FILE"),
        ("SQLite format 3\0".to_owned(), 0, "sqlite3 FILE .dump"),
        ("\0\0\0".to_owned(), 0, "a binary file"),
    ] {
        let (found, result) = rows_of(dump.as_bytes());
        let error = result.unwrap_err();
        assert!(error.contains(expected) && error.starts_with("line "), "{dump}: {error}");
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(found.len(), rows, "{dump}");
    }
}

#[test]
fn long_values_are_passed_without_being_held() {
    let long = "x".repeat(MAX_VALUE_BYTES + 1);
    let dump = format!(
        "{CREATE}INSERT INTO `dark_gnubuildid` VALUES (1,'{long}','b','{long}','d','e'),(2,'a','b','c','d','e');"
    );
    expect(&dump, &[["too long", "b", "too long", "d"], ["a", "b", "c", "d"]]);
    let (rows, ..) = read_all(dump.replace("'b'", &format!("0x{}", "61".repeat(MAX_VALUE_BYTES + 1))).as_bytes());
    assert!(rows.first().is_some_and(|row| row.directory == OriginalValue::TooLong));
}

#[test]
fn a_caller_can_break_off() {
    let dump =
        format!("{CREATE}INSERT INTO `dark_gnubuildid` VALUES (1,'a','b','c','d','e'),(2,'a','b','c','d','e');broken");
    let (mut rows, mut summary) = (0, DumpSummary::default());
    let result = read(dump.as_bytes(), &mut summary, |_, at| {
        rows += 1;
        assert_eq!(at.line, 11);
        ControlFlow::Break(())
    });
    assert!(result.is_ok());
    assert_eq!((rows, summary.tables), (1, vec![(OriginalTable::Dark, 1)]));
}

/// Values survive being written as the three programs write them, whatever bytes they have.
#[test]
fn every_value_is_read_as_it_was_written() {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut values: Vec<Vec<u8>> = bytes.iter().map(|byte| vec![*byte]).collect();
    values.extend([Vec::new(), bytes.clone(), b"\\".repeat(3), b"'\\'".to_vec(), b"\\.".to_vec(), b"NULL".to_vec()]);
    for value in values {
        let mysql: Vec<u8> = value
            .iter()
            .flat_map(|byte| match byte {
                0 => b"\\0".to_vec(),
                b'\n' => b"\\n".to_vec(),
                b'\r' => b"\\r".to_vec(),
                0x1a => b"\\Z".to_vec(),
                b'\'' | b'"' | b'\\' => vec![b'\\', *byte],
                byte => vec![*byte],
            })
            .collect();
        let copy: Vec<u8> = value
            .iter()
            .flat_map(|byte| match byte {
                b'\\' => b"\\\\".to_vec(),
                b'\n' => b"\\n".to_vec(),
                b'\r' => b"\\r".to_vec(),
                b'\t' => b"\\t".to_vec(),
                8 => b"\\b".to_vec(),
                12 => b"\\f".to_vec(),
                11 => b"\\v".to_vec(),
                byte => vec![*byte],
            })
            .collect();
        let quoted: Vec<u8> =
            value.iter().flat_map(|byte| if *byte == b'\'' { b"''".to_vec() } else { vec![*byte] }).collect();
        let columns = b"buildid_gnubuildid (elfname, instpath, build_id, rpm_name)";
        let dumps = [
            [b"INSERT INTO ", &columns[..], b" VALUES ('", &mysql, b"','','','x');"].concat(),
            [
                b"SET standard_conforming_strings = on; INSERT INTO ",
                &columns[..],
                b" VALUES ('",
                &quoted,
                b"','','','x');",
            ]
            .concat(),
            [b"COPY ", &columns[..], b" FROM stdin;\n", &copy, b"\t\t\tx\n\\.\n"].concat(),
        ];
        for dump in dumps {
            let (rows, _, result) = read_all(dump.as_slice());
            assert_eq!(result, Ok(()));
            let found: Vec<OriginalValue> = rows.into_iter().map(|row| row.elf_name).collect();
            assert_eq!(found, [OriginalValue::Bytes(value.clone())], "{:?}", String::from_utf8_lossy(&dump));
        }
    }
}

/// A dump that is cut off anywhere gives the rows before, and an error unless a statement ends there.
#[test]
fn a_dump_that_is_cut_off_anywhere_gives_the_rows_before() {
    let dump = format!(
        "{CREATE}INSERT INTO `dark_gnubuildid` VALUES (1,'a\\'','b','c','d','e'),(2,'a','b','c','d','e');\nCOPY \
         buildid_gnubuildid (elfname, instpath, build_id, rpm_name) FROM stdin;\na\tb\tc\td\ne\tf\tg\th\n\\.\n"
    );
    let (whole, _, result) = read_all(dump.as_bytes());
    assert_eq!((whole.len(), result), (4, Ok(())));
    for length in 0..dump.len() {
        let (rows, _, result) = read_all(&dump.as_bytes()[..length]);
        assert_eq!(rows, whole[..rows.len()], "{length}");
        let before = dump[..length].trim_end();
        let is_whole =
            before.is_empty() || before.ends_with(';') && !before.ends_with("stdin;") || before.ends_with("\\.");
        assert_eq!(result.is_ok(), is_whole, "{length}: {result:?}: {before}");
    }
}
