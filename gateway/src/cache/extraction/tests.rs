use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::{Arc, mpsc};

use artifact::header::Header;
use bytesize::ByteSize;

use super::super::directory::PublishedFile;
use super::super::{Filler, MemberCache, MemberKey, MemberPlace};
use super::*;
use crate::config::{self, Abandoned};
use crate::permits::{ClientAddress, Permits};

/// A disk that becomes unavailable: it returns a part of the payload, and the rest when it is told to.
struct Unavailable {
    payload: BufReader<File>,
    left: u64,
    back: mpsc::Receiver<()>,
}

impl Read for Unavailable {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.back.recv().map_err(io::Error::other)?;
            self.left = u64::MAX;
        }
        let read = (&mut self.payload).take(self.left).read(bytes)?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A cache without prefetched members.
async fn open_cache(directory: &Path) -> MemberCache {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let limits = config::PrefetchSettings { max_bytes: ByteSize(0), timeout: Duration::ZERO };
    MemberCache::open(directory, ByteSize::mib(64), Abandoned::Finish, limits).await.unwrap()
}

/// A package, at its payload, and the member of it that tests extract.
fn package() -> (BufReader<File>, Arc<Header>, MemberKey) {
    let rpm = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../compat-tests/fixtures/rpms/payloads/payload-none-1.0-1.fc99.x86_64.rpm"
    );
    let mut payload = BufReader::new(File::open(rpm).unwrap());
    let header = Arc::new(Header::read(&mut payload).unwrap());
    let (ordinal, _) = header.file("/usr/bin/payload-none").unwrap();
    let key = MemberKey { identity: header.package.identity, ordinal };
    (payload, header, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_read_holds_neither_clients_nor_permits() {
    let directory = tempfile::tempdir().unwrap();
    let mut cache = open_cache(directory.path()).await;
    cache.stall_timeout = Duration::from_millis(600);
    let permits = Permits::new(1, "test stalled");
    let (payload, header, key) = package();
    let (let_it, back) = mpsc::channel();
    let archive = Archive::of_payload(header, Box::new(Unavailable { payload, left: 1000, back }));
    let permit = permits.acquire(ClientAddress::default()).await;
    let entry = cache
        .fill(key, vec![MemberPlace::Location((1, "p.rpm".into()))], None, permit, async {
            Ok(Filler::Extraction(Box::new(archive)))
        })
        .await
        .unwrap();
    let failure = entry.complete_file().await.err().unwrap();
    assert!(matches!(&failure, Miss::Failed(cause) if cause.text.contains("expected bytes within 600ms")), "{failure}");
    // The next one finds a permit, and nothing of the first.
    permits.acquire(ClientAddress::default()).await;
    assert!(cache.find(key).await.is_none());
    // When the disk is available again, the failed fill is not continued.
    let began = Instant::now();
    while let_it.send(()).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "the thread is still running");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(entry.has_failed());
    assert_eq!(std::fs::read_dir(directory.path().join("files")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_prefetched_while_its_source_is_opened_is_not_extracted() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open_cache(directory.path()).await;
    let permits = Permits::new(1, "test prefetched");
    let (payload, header, key) = package();
    let info = cache.directory.info(key, header.file_by_ordinal(key.ordinal).unwrap());
    let (path, size) = (info.path.clone(), info.size);
    let prefetching = cache.clone();
    let opened = async move {
        let file = prefetching.directory.temporary_file(size).unwrap();
        file.file.set_len(size).unwrap();
        prefetching.publish_prefetched(PublishedFile { key, info, cost: Duration::ZERO }, file).unwrap();
        let archive = Archive::of_payload(header, Box::new(payload));
        Ok(Filler::Extraction(Box::new(archive)))
    };
    let reader = cache
        .fill(
            key,
            vec![MemberPlace::Location((1, "p.rpm".into()))],
            None,
            permits.acquire(ClientAddress::default()).await,
            opened,
        )
        .await
        .unwrap();
    assert!(reader.is_complete() && reader.path() == path, "the prefetched file");
    assert_eq!(std::fs::read(&path).unwrap(), vec![0; usize::try_from(size).unwrap()], "it was not extracted");
    permits.acquire(ClientAddress::default()).await;
}
