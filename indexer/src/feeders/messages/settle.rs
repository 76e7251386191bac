//! A batch of messages goes into the index. Afterwards, and only then, its messages are acknowledged.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use sql::Index;

use super::reading::{Reading, Tag};

/// A message that was received and read.
pub(super) struct Message {
    /// What it asks for.
    pub(super) reading: Reading,
    /// Its body, which is kept if it is poison.
    pub(super) body: Vec<u8>,
}

/// Writes what the messages ask for: jobs first, then tags, then poison. Each can be written twice without harm.
/// `source` is the source of poison: `messages/NAME`.
///
/// # Errors
/// If the database cannot be reached, or refuses a value.
pub(super) async fn settle(index: &Index, source: &str, messages: &[Message]) -> sql::Result<()> {
    let wanted = || {
        messages.iter().filter_map(|message| match &message.reading {
            Reading::Wanted(wanted) => Some(wanted),
            _ => None,
        })
    };
    let tags: Vec<&Tag> = wanted().flat_map(|wanted| &wanted.tags).collect();
    let unknown = unknown_builds(index, &tags).await?;
    let of_messages = wanted().flat_map(|wanted| &wanted.jobs).map(|(work, delay)| work.job(*delay));
    let of_tags = unknown.into_iter().map(|tag| tag.job.job(Duration::ZERO));
    index.enqueue(&of_messages.chain(of_tags).collect::<Vec<_>>()).await?;
    for Tag { instance, build, tag, change, at, .. } in tags {
        index.record_tag(instance, *build, tag, *change, *at).await?;
    }
    for message in messages {
        if let Reading::Poison(reason) = &message.reading {
            index.insert_poison(source, &String::from_utf8_lossy(&message.body), reason).await?;
        }
    }
    Ok(())
}

/// Returns the tags of builds that the index does not know.
async fn unknown_builds<'a>(index: &Index, tags: &[&'a Tag]) -> sql::Result<Vec<&'a Tag>> {
    let mut unknown = Vec::new();
    let instances: BTreeSet<&str> = tags.iter().map(|tag| tag.instance.as_str()).collect();
    for instance in instances {
        let of_instance = || tags.iter().copied().filter(|tag| tag.instance == instance);
        let ids: BTreeSet<i64> = of_instance().map(|tag| tag.build).collect();
        let known = index.builds(instance, &ids.into_iter().collect::<Vec<_>>()).await?;
        let known: HashSet<i64> = known.iter().map(|stored| stored.build.build).collect();
        unknown.extend(of_instance().filter(|tag| !known.contains(&tag.build)));
    }
    Ok(unknown)
}

#[cfg(test)]
mod tests {
    use sql::{Access, TagChange};

    use super::*;
    use crate::feeders::messages::reading::Wanted;
    use crate::jobs::{BuildName, BuildWork, Work};

    async fn empty_index() -> (tempfile::TempDir, Index) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("index.db").display()).parse().unwrap();
        let index = Index::open(&url, Access::ReadWrite).unwrap();
        index.migrate().await.unwrap();
        (directory, index)
    }

    fn work(build: i64) -> Work {
        let (instance, source) = ("primary".to_owned(), "messages/test".to_owned());
        Work::Build(BuildWork { instance, build: BuildName::Id(build), deleted_at: None, source, sent_at: None })
    }

    fn message(reading: Reading) -> Message {
        Message { reading, body: b"a body".to_vec() }
    }

    fn jobs(jobs: &[(i64, u64)]) -> Message {
        let jobs = jobs.iter().map(|(build, delay)| (work(*build), Duration::from_secs(*delay))).collect();
        message(Reading::Wanted(Wanted { jobs, tags: Vec::new() }))
    }

    #[tokio::test]
    async fn a_batch_becomes_jobs_and_poison() {
        let (_directory, index) = empty_index().await;
        let batch = [
            jobs(&[(1, 10), (2, 10)]),
            jobs(&[(1, 0)]),
            message(Reading::Ignored("x")),
            message(Reading::Poison("expected this, found that".into())),
        ];
        settle(&index, "messages/test", &batch).await.unwrap();
        // The second build waits for more messages about it.
        let due = index.claim_jobs("test", 10, Duration::from_secs(60), &[]).await.unwrap();
        assert_eq!(due.iter().map(|job| job.key.as_str()).collect::<Vec<_>>(), ["build primary 1"]);
        assert_eq!(index.status().await.unwrap().poison, 1);
    }

    #[tokio::test]
    async fn a_tag_of_an_unknown_build_is_recorded_and_becomes_a_job() {
        let (_directory, index) = empty_index().await;
        let tag = Tag {
            instance: "primary".into(),
            build: 7,
            tag: "f44".into(),
            change: TagChange::Tagged,
            at: 1_777_890_600,
            job: work(7),
        };
        let batch = [message(Reading::Wanted(Wanted { jobs: Vec::new(), tags: vec![tag] }))];
        settle(&index, "messages/test", &batch).await.unwrap();
        let due = index.claim_jobs("test", 10, Duration::from_secs(60), &[]).await.unwrap();
        assert_eq!(due.iter().map(|job| job.key.as_str()).collect::<Vec<_>>(), ["build primary 7"]);
    }
}
