//! The queue of a consumer: its name, its declaration, its bindings, its consumer.

use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use sql::Index;

use super::QueueSettings;
use super::bodies::TOPICS;
use super::connection::{BrokerError, step};

/// Returns the name of the queue. Without one in the configuration it is a UUID, which the index keeps: all indexers of
/// one index share the queue, also after a restart.
///
/// # Errors
/// If the database cannot be reached.
pub(super) async fn name(index: &Index, settings: &QueueSettings) -> sql::Result<String> {
    match &settings.queue {
        Some(queue) => Ok(queue.clone()),
        None => index.cursor_or_insert(&format!("queue {}", settings.name), &uuid()).await,
    }
}

/// Returns a random UUID (version 4).
fn uuid() -> String {
    let random = || std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0_u8);
    let (high, low) = (random(), random());
    let (time_high, variant) = ((high & 0x0fff) | 0x4000, (low >> 48 & 0x3fff) | 0x8000);
    format!(
        "{:08x}-{:04x}-{time_high:04x}-{variant:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        low & 0xffff_ffff_ffff
    )
}

/// Declares and binds the queue, unless it is passive, and begins to consume it.
///
/// # Errors
/// What was expected and what was found.
pub(super) async fn consume(
    channel: &Channel,
    settings: &QueueSettings,
    name: &str,
    tag: &str,
) -> Result<Consumer, BrokerError> {
    step("a limit of messages", channel.basic_qos(settings.prefetch, BasicQosOptions::default())).await?;
    if !settings.passive {
        declare(channel, settings, name).await?;
        bind(channel, settings, name).await?;
    }
    let options = BasicConsumeOptions { exclusive: settings.exclusive, ..BasicConsumeOptions::default() };
    step(
        format!("the right to read the queue {name}"),
        channel.basic_consume(name.into(), tag.into(), options, FieldTable::default()),
    )
    .await
}

async fn declare(channel: &Channel, settings: &QueueSettings, name: &str) -> Result<(), BrokerError> {
    let QueueSettings { durable, auto_delete, exclusive, .. } = *settings;
    let options = QueueDeclareOptions { durable, auto_delete, exclusive, ..QueueDeclareOptions::default() };
    let expected = format!(
        "the queue {name} with durable = {durable}, auto_delete = {auto_delete}, exclusive = {exclusive}, or none and \
         the right to declare it"
    );
    step(expected, channel.queue_declare(name.into(), options, FieldTable::default())).await.map(|_| ())
}

async fn bind(channel: &Channel, settings: &QueueSettings, name: &str) -> Result<(), BrokerError> {
    // Every queue is bound to the default exchange, by its name.
    if settings.exchange.is_empty() {
        return Ok(());
    }
    let exchange = settings.exchange.as_str();
    for (topic, _) in TOPICS {
        let key = match settings.topic_prefix.as_str() {
            "" => topic.to_owned(),
            prefix => format!("{prefix}.{topic}"),
        };
        let binding = channel.queue_bind(
            name.into(),
            exchange.into(),
            key.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        step(format!("the exchange {exchange}, and the right to bind the queue {name} to it"), binding).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_random_uuids() {
        let (one, other) = (uuid(), uuid());
        assert_ne!(one, other);
        for uuid in [one, other] {
            let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
            assert!(uuid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{uuid}");
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        }
    }
}
