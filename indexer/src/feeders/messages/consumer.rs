//! Consumes a queue until the service stops. A connection that ends is made again.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::{Channel, Consumer};
use tokio::time::sleep;

use super::QueueSettings;
use super::connection::{BrokerConnection, BrokerError, describe};
use super::envelope::Envelope;
use super::queue;
use super::reading::{Reader, Reading};
use super::settle::{Message, settle};
use crate::service::Service;
use crate::service::metrics::MessageResult;

/// The first pause after a failure; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A connection that lasted so long begins again with the first pause.
const STABLE: Duration = Duration::from_secs(30);
/// Time that a batch has to reach the database once the service stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// A queue that delivers nothing for so long is empty.
const IDLE: Duration = Duration::from_secs(5);
/// Maximum size of the bodies of one batch.
const MAX_BATCH_BYTES: usize = 32 << 20;

/// Consumes a queue until the service stops. Failures of the broker and of the database are logged, and tried again
/// for ever.
pub(crate) async fn run(service: Arc<Service>, settings: QueueSettings) {
    service.metrics.add_queue(&settings.name);
    let consumer = QueueConsumer::new(service, settings);
    let mut pause = MIN_PAUSE;
    while !consumer.service.stop.is_set() {
        let started = Instant::now();
        let result = Box::pin(consumer.session()).await;
        consumer.service.metrics.set_broker_disconnected(&consumer.settings.name);
        let Err(error) = result else { return };
        if started.elapsed() >= STABLE {
            pause = MIN_PAUSE;
        }
        let (queue, broker, seconds) = (&consumer.settings.name, consumer.settings.broker(), pause.as_secs());
        tracing::warn!(%queue, %broker, "messages are not consumed: {error}; the next try is in {seconds} s");
        if consumer.service.stop.wait_for(pause).await {
            return;
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

struct QueueConsumer {
    service: Arc<Service>,
    settings: QueueSettings,
    reader: Reader,
}

/// How a batch ended.
enum Batch {
    /// It is in the index.
    Committed,
    /// The service stops, and the database could not take it.
    Abandoned,
}

impl QueueConsumer {
    fn new(service: Arc<Service>, settings: QueueSettings) -> Self {
        let instances: Vec<String> = service.settings.koji.iter().map(|koji| koji.name.clone()).collect();
        let reader = Reader {
            source: format!("messages/{}", settings.name),
            topic_prefix: settings.topic_prefix.clone(),
            default_instance: settings.koji.clone().or_else(|| instances.first().cloned()),
            instances,
        };
        Self { service, settings, reader }
    }

    /// Consumes until the service stops.
    ///
    /// # Errors
    /// Why messages are not consumed: what was expected, and what was found.
    async fn session(&self) -> Result<(), BrokerError> {
        let Self { service, settings, .. } = self;
        // Nothing is held back meanwhile: the connection is not there yet.
        let name = tokio::select! {
            () = service.stop.wait() => return Ok(()),
            name = queue::name(&service.index, settings) => name.map_err(|error| BrokerError(error.to_string()))?,
        };
        let start = async {
            let connection = BrokerConnection::open(settings).await?;
            let consumer = queue::consume(&connection.channel, settings, &name, &service.holder).await?;
            Ok::<_, BrokerError>((connection, consumer))
        };
        let (connection, mut consumer) = tokio::select! {
            () = service.stop.wait() => return Ok(()),
            started = start => started?,
        };
        service.metrics.set_broker_connected(&settings.name);
        tracing::info!(queue = %settings.name, broker = %settings.broker(), name, "consuming messages");
        let result = self.consume(&connection.channel, &mut consumer, &name).await;
        if result.is_ok() {
            connection.close().await;
            tracing::info!(queue = %settings.name, "stopped to consume messages");
        }
        result
    }

    async fn consume(&self, channel: &Channel, consumer: &mut Consumer, name: &str) -> Result<(), BrokerError> {
        let mut is_idle = false;
        loop {
            let first = tokio::select! {
                biased;
                () = self.service.stop.wait() => None,
                delivery = consumer.next() => Some(delivery),
                // More messages than those in hand arrive soon after an acknowledgement.
                () = sleep(IDLE), if !is_idle => {
                    is_idle = true;
                    self.service.metrics.set_message_lag(&self.settings.name, 0.0);
                    continue;
                }
            };
            is_idle = false;
            let Some(delivery) = first else {
                // An auto-delete queue is removed with its last consumer. What has already arrived is not lost.
                self.drain(channel, consumer).await;
                return Ok(());
            };
            let delivery = check(delivery, name)?;
            let deliveries = self.batch(delivery, consumer);
            if let Batch::Abandoned = self.process(deliveries).await? {
                self.give_back(channel).await;
                return Ok(());
            }
        }
    }

    /// Returns what has arrived. Failures are found by the next call of `next`.
    fn batch(&self, first: Delivery, consumer: &mut Consumer) -> Vec<Delivery> {
        let mut bytes = first.data.len();
        let mut batch = vec![first];
        while batch.len() < usize::from(self.settings.prefetch) && bytes < MAX_BATCH_BYTES {
            match consumer.next().now_or_never() {
                Some(Some(Ok(delivery))) => {
                    bytes += delivery.data.len();
                    batch.push(delivery);
                }
                _ => break,
            }
        }
        batch
    }

    /// Writes a batch into the index, and acknowledges its messages. Tries until it succeeds or the service stops.
    ///
    /// # Errors
    /// If the broker cannot be told. It delivers the messages once more.
    async fn process(&self, deliveries: Vec<Delivery>) -> Result<Batch, BrokerError> {
        let now = SystemTime::now();
        let mut sent = Vec::with_capacity(deliveries.len());
        let (mut messages, mut ackers) = (Vec::with_capacity(sent.capacity()), Vec::with_capacity(sent.capacity()));
        for delivery in deliveries {
            let envelope = Envelope::of(&delivery);
            let reading = self.reader.read(&envelope, &delivery.data, now);
            self.log(&envelope, &reading);
            sent.push(envelope.sent_at);
            ackers.push(delivery.acker);
            messages.push(Message { reading, body: delivery.data });
        }
        if let Batch::Abandoned = self.write(&mut messages).await {
            return Ok(Batch::Abandoned);
        }
        self.service.new_jobs.notify_one();
        for acker in ackers {
            // Without an error, the channel has ended: the next call of `next` tells why.
            acker.ack(BasicAckOptions::default()).await.map_err(|error| {
                BrokerError(format!("expected that the broker takes an acknowledgement, found {}", describe(&error)))
            })?;
        }
        self.count(&messages, &sent);
        Ok(Batch::Committed)
    }

    async fn write(&self, messages: &mut [Message]) -> Batch {
        let mut pause = MIN_PAUSE;
        loop {
            let late = async {
                self.service.stop.wait().await;
                sleep(STOP_TIMEOUT).await;
            };
            let error = tokio::select! {
                biased;
                result = self.try_write(messages) => match result {
                    Ok(()) => return Batch::Committed,
                    Err(error) => error,
                },
                () = late => return Batch::Abandoned,
            };
            let (queue, count, seconds) = (&self.settings.name, messages.len(), pause.as_secs());
            tracing::error!(
                %queue,
                "{count} messages are not acknowledged: {error}; the next try is in {seconds} s"
            );
            if self.service.stop.wait_for(pause).await {
                return Batch::Abandoned;
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Writes a batch. A message with a value that the database refuses becomes poison: it would hold up the others for
    /// ever.
    async fn try_write(&self, messages: &mut [Message]) -> sql::Result<()> {
        let (index, source) = (&self.service.index, &self.reader.source);
        match settle(index, source, messages).await {
            Err(error) if is_refusal(&error) => {}
            result => return result,
        }
        for message in messages {
            match settle(index, source, slice::from_ref(message)).await {
                Err(error) if is_refusal(&error) => {
                    message.reading = Reading::Poison(error.to_string());
                    settle(index, source, slice::from_ref(message)).await?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Processes what has arrived before the service stopped.
    async fn drain(&self, channel: &Channel, consumer: &mut Consumer) {
        while let Some(Some(Ok(first))) = consumer.next().now_or_never() {
            let deliveries = self.batch(first, consumer);
            if !matches!(self.process(deliveries).await, Ok(Batch::Committed)) {
                break;
            }
        }
        self.give_back(channel).await;
    }

    /// Gives back to the queue what was delivered and not acknowledged.
    async fn give_back(&self, channel: &Channel) {
        let all = BasicNackOptions { multiple: true, requeue: true };
        // The broker does the same if it cannot be told.
        let _ = tokio::time::timeout(STOP_TIMEOUT, channel.basic_nack(0, all)).await;
    }

    fn log(&self, envelope: &Envelope, reading: &Reading) {
        let (queue, topic) = (&self.settings.name, &envelope.routing_key);
        let id = envelope.id.as_deref().unwrap_or_default();
        match reading {
            Reading::Wanted(wanted) => {
                tracing::debug!(%queue, topic, id, jobs = wanted.jobs.len(), tags = wanted.tags.len(), "message");
            }
            Reading::Ignored(reason) => tracing::debug!(%queue, topic, id, reason, "message ignored"),
            Reading::Poison(reason) => tracing::warn!(%queue, "message kept as poison: {reason}"),
        }
    }

    fn count(&self, messages: &[Message], sent: &[Option<i64>]) {
        let (metrics, queue) = (&self.service.metrics, &self.settings.name);
        for message in messages {
            let result = match message.reading {
                Reading::Wanted(_) => MessageResult::Queued,
                Reading::Ignored(_) => MessageResult::Ignored,
                Reading::Poison(_) => MessageResult::Poison,
            };
            metrics.count_message(queue, result);
        }
        if let Some(sent_at) = sent.iter().flatten().next_back() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            metrics.set_message_lag(queue, (now - *sent_at as f64).max(0.0));
        }
    }
}

/// # Errors
/// If the broker has ended the consumer.
fn check(delivery: Option<lapin::Result<Delivery>>, name: &str) -> Result<Delivery, BrokerError> {
    match delivery {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => {
            Err(BrokerError(format!("expected messages of the queue {name}, found {}", describe(&error))))
        }
        None => Err(BrokerError(format!("expected the queue {name}, found it removed"))),
    }
}

/// True if the database will never take a value.
fn is_refusal(error: &sql::Error) -> bool {
    matches!(error, sql::Error::TooLong { .. } | sql::Error::Value { .. })
}
