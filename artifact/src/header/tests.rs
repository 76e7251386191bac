//! What is read here of the entries of a header, compared with what the `rpm` crate reads of the whole header.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rpm::{Header as RpmHeader, IndexSignatureTag, IndexTag, PackageMetadata};

use compat_tests::ima::Signer;

use super::table::{MAX_PATH_BYTES, MAX_PATH_BYTES_PER_HEADER_BYTE};
use super::*;
use crate::digest::FileDigest;
use crate::{Format, Nevra, artifacts, nevra, path};

#[test]
fn fixtures_are_read_as_the_rpm_crate_reads_them_whole() {
    let mut archives = Vec::new();
    for family in folder("compat-tests/fixtures/rpms") {
        archives.extend(
            paths_in(&family).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rpm")),
        );
    }
    assert!(archives.len() > 40, "{archives:?}");
    for archive in archives {
        let bytes = fs::read(&archive).unwrap();
        assert!(compare(&bytes), "{}", archive.display());
    }
}

#[test]
fn signatures_of_files_are_read_as_the_rpm_crate_reads_them_whole() {
    let (signer, folder) = (Signer::make("ec"), tempfile::tempdir().unwrap());
    for family in ["fedora-compat", "v6", "old-classes"] {
        for rpm in compat_tests::fixtures::rpms(family) {
            let signed = signer.sign(&rpm, folder.path());
            let bytes = fs::read(&signed).unwrap();
            assert!(compare(&bytes));
            let header = Header::parse(&bytes).unwrap();
            let hex = |file: &File| file.signature.as_deref().map(faster_hex::hex_string).unwrap_or_default();
            let found: Vec<_> = header.files.iter().map(|file| (file.path.clone(), hex(file))).collect();
            assert_eq!(found, compat_tests::ima::signatures(&signed), "rpm shows others");
            // The package is the same one, and takes them from the header that Koji keeps; not with another one's.
            let mut unsigned = Header::parse(&fs::read(&rpm).unwrap()).unwrap();
            assert_eq!((unsigned.package.identity, unsigned.has_file_signatures()), (header.package.identity, false));
            let apart = folder.path().join("apart");
            signer.sign_header(&rpm, &apart);
            let apart = fs::read(apart).unwrap();
            let has_digest = family != "old-classes";
            let taken = unsigned.take_file_signatures(&apart);
            assert!(
                if has_digest { taken.unwrap() == header.has_file_signatures() } else { taken.is_err() },
                "{rpm:?}"
            );
            assert_eq!(unsigned.has_file_signatures(), has_digest && header.has_file_signatures());
            for end in 0..apart.len() {
                assert!(unsigned.take_file_signatures(&apart[..end]).is_err(), "{end}");
            }
            unsigned.package.identity = Identity::from_bytes([0; 32]);
            assert!(unsigned.take_file_signatures(&apart).is_err());
        }
    }
}

#[test]
fn what_fuzzing_kept_is_read_as_the_rpm_crate_reads_it_whole() {
    let inputs = folder("fuzz/corpus/header").into_iter().chain(folder("fuzz/regressions/header"));
    let accepted: Vec<bool> = inputs.map(|input| compare(&fs::read(input).unwrap())).collect();
    assert!(accepted.contains(&true) && accepted.contains(&false), "{}", accepted.len());
}

#[test]
fn changed_headers_are_read_as_the_rpm_crate_reads_them_whole() {
    for name in [
        "fedora-compat/bidtest-1.2~rc1-4.fc99.x86_64.rpm",
        "old-classes/oldtool-1.0-3.el7.x86_64.rpm",
        "v3/ancient-1.0-1.x86_64.rpm",
        "v6/sixpack-6.0-1.fc99.x86_64.rpm",
        "largefile/largefile-6.0-1.fc99.x86_64.rpm",
    ] {
        let mut bytes = fs::read(root().join("compat-tests/fixtures/rpms").join(name)).unwrap();
        let extent = structure::check(&bytes).unwrap().extent;
        bytes.truncate(extent.end);
        // Without a digest of the main header, so that changes of it get further.
        let digest = Identity::from_bytes(Sha256::digest(&bytes[extent.main_start..]).into()).to_string();
        let tag = bytes[..extent.main_start].windows(4).position(|window| window == 273_u32.to_be_bytes());
        if bytes.windows(digest.len()).any(|window| window == digest.as_bytes()) {
            bytes[tag.unwrap() + 3] ^= 0x80;
        }
        let mut outcomes = [0, 0];
        let step = compat_tests::scale(11, 1);
        for (round, at) in (0..700.min(extent.end)).chain((700..extent.end).step_by(step)).enumerate() {
            let old = bytes[at];
            for new in [old ^ 1 << (round % 8), 0xff, 0] {
                bytes[at] = new;
                outcomes[usize::from(compare(&bytes))] += 1;
            }
            bytes[at] = old;
        }
        assert!(outcomes.iter().all(|count| *count > 10), "{name}: {outcomes:?}");
    }
}

/// rpm takes each of these packages (`rpm -qp`): one tag of the main header is missing, of another type, has fewer or
/// more rows, or odd contents.
#[test]
fn a_package_that_rpm_accepts_is_not_refused_for_one_odd_tag() {
    let rpm = root().join("compat-tests/fixtures/rpms/fedora-compat/bidtest-1.2~rc1-4.fc99.x86_64.rpm");
    let (folder, sound) = (tempfile::tempdir().unwrap(), Header::parse(&fs::read(&rpm).unwrap()).unwrap());
    let script = root().join("compat-tests/fixtures/make/odd_tags.py");
    let mut python = Command::new("python3");
    let made = python.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).arg(&rpm).arg(folder.path()).status().unwrap();
    assert!(made.success());
    let mut archives = paths_in(folder.path());
    archives.sort();
    assert!(archives.len() > 300, "{}", archives.len());
    let mut refused = 0;
    for archive in archives {
        let (bytes, name) = (fs::read(&archive).unwrap(), archive.file_stem().unwrap().to_str().unwrap().to_owned());
        let mut rpm = Command::new("rpm");
        let asked = rpm.args(["-qp", "--nosignature", "--nodigest"]).arg(&archive).output().unwrap();
        // rpm 4.18 does not survive some of them.
        if !asked.status.success() {
            refused += 1;
        }
        let is_read = |header: &Header| !header.package.nevra.name.is_empty() && header.package.nevra.arch.len() > 2;
        let header = Header::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_read(&header), "{name}: {:?}", header.package.nevra);
        // What has nothing to do with build-ids changes nothing about them, and the payload is read whatever the header
        // calls it.
        let (tag, _) = name.split_once('-').unwrap();
        if !["1028", "1030", "1036", "1037", "1096", "1116", "1117", "1118", "1141", "1142"].contains(&tag) {
            assert_eq!(artifacts::from_header(&header).artifacts, artifacts::from_header(&sound).artifacts, "{name}");
        }
        if tag == "1125" {
            let (ordinal, _) =
                header.files.iter().enumerate().find(|(_, file)| file.is_regular() && file.size > 0).unwrap();
            let (ordinal, payload) =
                (u32::try_from(ordinal).unwrap(), &bytes[usize::try_from(header.range.end).unwrap()..]);
            crate::payload::extract_member(payload, &header, ordinal, &mut Vec::new())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(refused < 10, "{refused}");
}

/// What the crate says, or this one.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Reads a header in both ways, which have to agree where the crate reads it. Was it accepted?
fn compare(bytes: &[u8]) -> bool {
    match (Outline::from_bytes(bytes), whole(bytes)) {
        (Ok(outline), Ok(whole)) => {
            assert_eq!(artifacts::from_outline(&outline), artifacts::from_header(&whole));
            assert!(
                outline
                    .files
                    .rows()
                    .map(|row| format!("{row:?}"))
                    .eq(whole.files.iter().map(|file| format!("{:?}", file.row())))
            );
            assert_eq!(format!("{:#?}", outline.into_header().unwrap()), format!("{whole:#?}"));
            true
        }
        // The crate wants each tag in the type that rpm writes; rpm does not.
        (Ok(outline), Err(_)) => {
            outline.into_header().unwrap();
            true
        }
        (Err(_), Err(_)) => false,
        (outline, whole) => panic!("{:?}, the whole header: {:?}", outline.map(|outline| outline.range), whole),
    }
}

/// What the `rpm` crate makes of a whole header.
fn whole(bytes: &[u8]) -> Result<Header> {
    let extent = structure::check(bytes)?.extent;
    let main = &bytes[extent.main_start..extent.end];
    let identity = Identity::from_bytes(Sha256::digest(main).into());
    let metadata = PackageMetadata::parse(&mut &bytes[..extent.end])?;
    let recorded = |tag| metadata.signature.get_entry_data_as_string(tag).map(str::to_owned);
    if let Ok(recorded) = recorded(IndexSignatureTag::RPMSIGTAG_SHA256) {
        check_digest("SHA-256", recorded, identity.to_string())?;
    } else if let Ok(recorded) = recorded(IndexSignatureTag::RPMSIGTAG_SHA1) {
        check_digest("SHA-1", recorded, faster_hex::hex_string(&Sha1::digest(main)))?;
    }
    let range = extent.main_start as u64..extent.end as u64;
    let package = package(&metadata.header, identity, lead_says_source(bytes))?;
    let archive_bytes = archive_bytes(&metadata, &range)?;
    let mut files = files(&metadata.header, main.len())?;
    let signatures = metadata.signature.get_entry_data_as_string_array(IndexSignatureTag::RPMSIGTAG_FILESIGNATURES);
    let signatures =
        signatures.or_else(|_| metadata.header.get_entry_data_as_string_array(IndexTag::RPMTAG_FILESIGNATURES));
    if let Some(signatures) = signatures.ok().filter(|signatures| signatures.len() == files.len()) {
        files.iter_mut().zip(signatures).for_each(|(file, hex)| file.signature = signatures::parse(hex));
    }
    Ok(Header {
        package,
        archive_bytes,
        range,
        files,
        compressor: optional(metadata.header.get_entry_data_as_string(IndexTag::RPMTAG_PAYLOADCOMPRESSOR))?
            .filter(|name| !matches!(*name, "" | "none" | "identity"))
            .map(str::to_owned),
        signing_key: tags::signing_key(bytes, &structure::check(bytes)?),
    })
}

/// A tag that may be absent.
fn optional<T>(result: Result<T, rpm::Error>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rpm::Error::TagNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who the package is, with all of its name.
fn package(header: &Main, identity: Identity, lead_says_source: bool) -> Result<Package> {
    let text = |tag| header.get_entry_data_as_string(tag).map(str::to_owned);
    let source_rpm = optional(text(IndexTag::RPMTAG_SOURCERPM))?.filter(|name| !name.is_empty());
    let has_no_source =
        header.entry_is_present(IndexTag::RPMTAG_NOSOURCE) || header.entry_is_present(IndexTag::RPMTAG_NOPATCH);
    let is_source =
        header.entry_is_present(IndexTag::RPMTAG_SOURCEPACKAGE) || (source_rpm.is_none() && lead_says_source);
    let arch = match (is_source, has_no_source) {
        (true, true) => "nosrc".into(),
        (true, false) => "src".into(),
        (false, _) => text(IndexTag::RPMTAG_ARCH)?,
    };
    let plain = |text: String| {
        let error = || Error::Header { part: "main header", expected: "a plain name".into(), found: text.clone() };
        if nevra::is_plain(&text) { Ok(text) } else { Err(Box::new(error())) }
    };
    let nevra = Nevra {
        name: plain(text(IndexTag::RPMTAG_NAME)?)?,
        epoch: optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_EPOCH))?,
        version: plain(text(IndexTag::RPMTAG_VERSION)?)?,
        release: plain(text(IndexTag::RPMTAG_RELEASE)?)?,
        arch: plain(arch)?,
    };
    let built_at = optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_BUILDTIME))?.map(i64::from);
    Ok(Package { format: Format::Rpm, nevra, source_rpm, identity, built_at })
}

fn archive_bytes(metadata: &PackageMetadata, range: &Range<u64>) -> Result<Option<u64>> {
    let (signature, main) = (&metadata.signature, &metadata.header);
    let long = optional(signature.get_entry_data_as_u64(IndexSignatureTag::RPMSIGTAG_LONGSIZE))?;
    let short = optional(signature.get_entry_data_as_u32(IndexSignatureTag::RPMSIGTAG_SIZE))?.map(u64::from);
    if let Some(bytes) = long.or(short) {
        return Ok(Some(range.start.saturating_add(bytes)));
    }
    let payload = optional(main.get_entry_data_as_u64(IndexTag::RPMTAG_PAYLOADSIZE))?;
    Ok(payload.map(|bytes| range.end.saturating_add(bytes)))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folder(path: &str) -> Vec<PathBuf> {
    paths_in(&root().join(path))
}

fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

type Main = RpmHeader<IndexTag>;

/// Every file of a main header of so many bytes, in header order.
fn files(header: &Main, header_bytes: usize) -> Result<Vec<File>> {
    let paths = paths(header, MAX_PATH_BYTES.min(header_bytes * MAX_PATH_BYTES_PER_HEADER_BYTE))?;
    let count = paths.len();
    let column = |tag: IndexTag| Column::new(header.get_entry_data_as_u32_array(tag), tag, count);
    let modes =
        Column::new(header.get_entry_data_as_u16_array(IndexTag::RPMTAG_FILEMODES), IndexTag::RPMTAG_FILEMODES, count)?;
    // What is made up for them is not the crate's.
    if modes.0.is_empty() && count > 0 {
        return Err(rpm::Error::TagNotFound(IndexTag::RPMTAG_FILEMODES as u32).into());
    }
    let flags = column(IndexTag::RPMTAG_FILEFLAGS)?;
    let mtimes = column(IndexTag::RPMTAG_FILEMTIMES)?;
    let inodes = column(IndexTag::RPMTAG_FILEINODES)?;
    let sizes = sizes(header, count)?;
    let digests = strings(header, IndexTag::RPMTAG_FILEDIGESTS, count)?;
    let targets = strings(header, IndexTag::RPMTAG_FILELINKTOS, count)?;
    let algorithm = file_digest_algorithm(optional(header.get_entry_data_as_u32(IndexTag::RPMTAG_FILEDIGESTALGO))?);
    let classes = classes(header, count)?;

    let mut files = Vec::with_capacity(count);
    for (at, (path, class)) in paths.into_iter().zip(classes).enumerate() {
        let digest = algorithm.zip(digests.get(at).filter(|hex| !hex.is_empty()));
        files.push(File {
            path,
            mode: modes.at(at).unwrap_or(0),
            flags: flags.at(at).unwrap_or(0),
            size: sizes.at(at).unwrap_or(0),
            mtime: mtimes.at(at).unwrap_or(0),
            // Without inode numbers every file stands for itself; 0 is what rpm writes for "none".
            inode: inodes.at(at).unwrap_or(0),
            digest: digest.map(|(algorithm, hex)| FileDigest::parse(algorithm, hex)).transpose()?,
            link_target: targets.get(at).filter(|target| !target.is_empty()).map(|target| (*target).to_owned()),
            class,
            signature: None,
        });
    }
    Ok(files)
}

/// Absolute paths: folder + base name, or whole names in v3 packages. More than `max_bytes` of them are refused.
fn paths(header: &Main, max_bytes: usize) -> Result<Vec<String>> {
    if let Some(names) = optional(header.get_entry_data_as_string_array(IndexTag::RPMTAG_OLDFILENAMES))? {
        return Ok(names.into_iter().map(path::absolute).collect());
    }
    let Some(names) = optional(header.get_entry_data_as_string_array(IndexTag::RPMTAG_BASENAMES))? else {
        return Ok(Vec::new());
    };
    let folders = header.get_entry_data_as_string_array(IndexTag::RPMTAG_DIRNAMES)?;
    let indexes = Column::new(
        header.get_entry_data_as_u32_array(IndexTag::RPMTAG_DIRINDEXES),
        IndexTag::RPMTAG_DIRINDEXES,
        names.len(),
    )?;
    let mut paths = Vec::with_capacity(names.len());
    let mut bytes = 0_usize;
    for (at, name) in names.iter().enumerate() {
        let index = indexes.at(at).unwrap_or(u32::MAX) as usize;
        let folder = folders.get(index).ok_or_else(|| Error::Header {
            part: "main header",
            expected: format!("a folder number below {} for file {at}", folders.len()),
            found: index.to_string(),
        })?;
        let path = path::absolute(&format!("{folder}{name}"));
        // A million files in one folder of a megabyte would unfold to a terabyte.
        bytes += path.len();
        if bytes > max_bytes {
            return Err(Error::Header {
                part: "main header",
                expected: format!("at most {max_bytes} bytes of paths"),
                found: "more".into(),
            }
            .into());
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Sizes in bytes: 32 bits, or 64 where a file has more than 4 GiB and in v6 packages.
fn sizes(header: &Main, count: usize) -> Result<Column<u64>> {
    if header.entry_is_present(IndexTag::RPMTAG_LONGFILESIZES) {
        let tag = IndexTag::RPMTAG_LONGFILESIZES;
        return Column::new(header.get_entry_data_as_u64_array(tag), tag, count);
    }
    let tag = IndexTag::RPMTAG_FILESIZES;
    let sizes = header.get_entry_data_as_u32_array(tag).map(|sizes| sizes.into_iter().map(u64::from).collect());
    Column::new(sizes, tag, count)
}

/// libmagic's word on each file.
fn classes(header: &Main, count: usize) -> Result<Vec<Class>> {
    let texts = class_column(header, IndexTag::RPMTAG_FILECLASS, IndexTag::RPMTAG_CLASSDICT, count)?;
    let mimes = class_column(header, IndexTag::RPMTAG_FILEMIMEINDEX, IndexTag::RPMTAG_MIMEDICT, count)?;
    let class = |at: usize| {
        let text = texts.get(at).cloned().flatten();
        let mime = mimes.get(at).cloned().flatten();
        text.map(Class::Text).or(mime.map(Class::Mime)).unwrap_or(Class::None)
    };
    Ok((0..count).map(class).collect())
}

/// One dictionary and the column of numbers into it; `None` for an empty text and for a number beyond the dictionary.
fn class_column(header: &Main, numbers: IndexTag, dictionary: IndexTag, count: usize) -> Result<Vec<Option<Arc<str>>>> {
    let Some(dictionary) = optional(header.get_entry_data_as_string_array(dictionary))? else {
        return Ok(Vec::new());
    };
    let dictionary: Vec<Arc<str>> = dictionary.into_iter().map(Arc::from).collect();
    let numbers = Column::new(header.get_entry_data_as_u32_array(numbers), numbers, count)?;
    let text = |number: u32| dictionary.get(number as usize).filter(|text| !text.is_empty()).cloned();
    Ok((0..count).map(|at| numbers.at(at).and_then(text)).collect())
}

/// A column of strings with one row a file, or none at all.
fn strings(header: &Main, tag: IndexTag, count: usize) -> Result<Vec<&str>> {
    let rows = optional(header.get_entry_data_as_string_array(tag))?.unwrap_or_default();
    expect_rows(tag, count, rows.len())?;
    Ok(rows)
}

/// A column of numbers with one row a file, or none at all.
struct Column<T>(Vec<T>);

impl<T: Copy> Column<T> {
    fn new(rows: Result<Vec<T>, rpm::Error>, tag: IndexTag, count: usize) -> Result<Self> {
        let rows = optional(rows)?.unwrap_or_default();
        expect_rows(tag, count, rows.len())?;
        Ok(Self(rows))
    }

    fn at(&self, row: usize) -> Option<T> {
        self.0.get(row).copied()
    }
}

fn expect_rows(tag: IndexTag, expected: usize, found: usize) -> Result<()> {
    if found == 0 || found == expected {
        return Ok(());
    }
    Err(Error::Header { part: "main header", expected: format!("{expected} rows of {tag}"), found: found.to_string() }
        .into())
}

#[test]
fn a_damaged_header_is_none_of_another_package_whichever_digest_it_has() {
    for (path, name, algorithm) in [
        ("old-classes/oldtool-1.0-3.el7.x86_64.rpm", &b"oldtool-1.0-3.el7.src.rpm"[..], "SHA-1"),
        ("payloads/payload-none-1.0-1.fc99.x86_64.rpm", b"payload-none-1.0-1.fc99.src.rpm", "SHA-256"),
    ] {
        let path = format!("{}/../compat-tests/fixtures/rpms/{path}", env!("CARGO_MANIFEST_DIR"));
        let mut bytes = fs::read(path).unwrap();
        assert!(Header::parse(&bytes).is_ok());
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
        bytes[at + 2] ^= 1;
        let error = Header::parse(&bytes).unwrap_err().to_string();
        assert!(error.starts_with(&format!("main header: expected {algorithm} ")), "{error}");
    }
}
