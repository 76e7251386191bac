//! Reads messages: what each asks for.

use std::time::{Duration, SystemTime};

use sql::TagChange;

use super::bodies::{self, Event, Refusal, Statement, TOPICS};
use super::envelope::{Envelope, sent_until};
use crate::jobs::{BuildName, BuildWork, SIGNED_DELAY, Work};

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Jobs and tags.
    Wanted(Wanted),
    /// Nothing, with the reason.
    Ignored(&'static str),
    /// It cannot be read: what was expected, and what was found.
    Poison(String),
}

/// Jobs and tags.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Jobs, and how long each is put off.
    pub(crate) jobs: Vec<(Work, Duration)>,
    /// Changes of tags.
    pub(crate) tags: Vec<Tag>,
}

/// A change of a build's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) instance: String,
    pub(crate) build: i64,
    pub(crate) tag: String,
    pub(crate) change: TagChange,
    /// When the message was sent, seconds since 1970.
    pub(crate) at: i64,
    /// The job that imports the build if the index does not know it.
    pub(crate) job: Work,
}

/// Reads the messages of one queue.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// What its jobs name as their source: `messages/NAME`.
    pub(crate) source: String,
    /// What precedes topics in routing keys.
    pub(crate) topic_prefix: String,
    /// The instances of Koji that are known.
    pub(crate) instances: Vec<String>,
    /// The instance of bodies that name none.
    pub(crate) default_instance: Option<String>,
}

impl Reader {
    /// Returns what a message asks for. Messages of unknown topics and instances are ignored.
    pub(crate) fn read(&self, envelope: &Envelope, body: &[u8], now: SystemTime) -> Reading {
        match self.statement(envelope, body).and_then(|statement| self.wanted(envelope, statement, now)) {
            Ok(wanted) => Reading::Wanted(wanted),
            Err(Refusal::Ignored(reason)) => Reading::Ignored(reason),
            Err(Refusal::Poison(reason)) => {
                let id = envelope.id.as_deref().unwrap_or("without an id");
                Reading::Poison(format!("{}, message {id}: {reason}", envelope.routing_key))
            }
        }
    }

    fn statement(&self, envelope: &Envelope, body: &[u8]) -> Result<Statement, Refusal> {
        let topic = envelope.topic(&self.topic_prefix);
        if let Some((_, topic)) = TOPICS.iter().find(|(name, _)| Some(*name) == topic) {
            return bodies::read(*topic, body);
        }
        if envelope.schema.is_some() {
            return Err(Refusal::Ignored("nothing follows from its topic"));
        }
        match bodies::read_original(body) {
            // Whatever is sent to a queue itself is meant for its reader.
            Err(Refusal::Poison(_)) if !envelope.exchange.is_empty() => {
                Err(Refusal::Ignored("nothing follows from its topic"))
            }
            result => result,
        }
    }

    fn wanted(&self, envelope: &Envelope, statement: Statement, now: SystemTime) -> Result<Wanted, Refusal> {
        let instance = match statement.instance {
            Some(instance) if self.instances.contains(&instance) => instance,
            Some(_) => return Err(Refusal::Ignored("no [[koji]] has the name of its instance")),
            None => self.default_instance.clone().ok_or(Refusal::Ignored("no [[koji]] is configured"))?,
        };
        let work = |build, deleted_at| {
            let (instance, source) = (instance.clone(), self.source.clone());
            Work::Build(BuildWork { instance, build, deleted_at, source, sent_at: envelope.sent_at })
        };
        let mut wanted = Wanted::default();
        for event in statement.events {
            match event {
                Event::Changed(build) => wanted.jobs.push((work(build, None), Duration::ZERO)),
                Event::Signed(build) => wanted.jobs.push((work(build, None), SIGNED_DELAY)),
                Event::Deleted(build) => {
                    let deleted_at = envelope.sent_at.map(|at| sent_until(Some(at), now));
                    wanted.jobs.push((work(build, deleted_at), Duration::ZERO));
                }
                Event::Tagged { build, tag, change } => wanted.tags.push(Tag {
                    instance: instance.clone(),
                    build,
                    tag,
                    change,
                    at: sent_until(envelope.sent_at, now),
                    job: work(BuildName::Id(build), None),
                }),
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests;
