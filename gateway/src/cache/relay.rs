//! Fills an entry from upstreams: from the one that was asked, and when that breaks off, from where it ended or from
//! another one.

use std::io::Write;
use std::time::{Duration, Instant};

use super::fill::{Fill, FillError};
use super::temporary_file::TemporaryFile;
use super::writer::FillWriter;
use crate::metrics::METRICS;
use crate::providers::federation::relay_input::RelayInput;
use crate::resolve::outcome::{Cause, CauseKind, Miss};

/// Readers are reset when no byte that they lack came for this long. Another upstream repeats what was sent before.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// An upstream is left when it sent no byte for this long.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request for the rest may take.
const RESUME_TIMEOUT: Duration = Duration::from_secs(3);
/// Clients give up below this speed, so another upstream is asked when one is slower over this time.
const MIN_BYTES_PER_SECOND: u64 = 100 << 10;
const SPEED_INTERVAL: Duration = Duration::from_secs(10);
/// How often a relay without bytes checks whether it is still wanted.
const TICK: Duration = Duration::from_millis(250);

/// Relays the file of `fill` from `input`.
pub(super) fn run(fill: &Fill, input: RelayInput, file: TemporaryFile) {
    let now = Instant::now();
    let writer = FillWriter::new(fill, file);
    let mut relay =
        Relay { fill, input, writer, received_at: now, grown_at: now, grown: 0, asked_at: now, may_be_slow: false };
    let (name, path) = (&fill.source, &fill.path);
    let result = match relay.run() {
        Ok(()) => {
            let (bytes, seconds) = (fill.entry.size(), fill.began.elapsed().as_secs_f64());
            tracing::debug!(%name, path, bytes, seconds, "relayed");
            "complete"
        }
        Err(FillError::Source(failure) | FillError::Differs(failure) | FillError::Final(failure)) => {
            tracing::warn!(%name, path, %failure, "a relay failed");
            fill.fail(failure);
            "failed"
        }
        Err(FillError::Cancelled) => {
            tracing::debug!(%name, path, "a relay was cancelled: no reader is left");
            fill.fail(Miss::gateway(CauseKind::Broken, format!("{name}: cancelled, since no reader was left")));
            "cancelled"
        }
    };
    METRICS.relays.with_label_values(&[result]).inc();
}

/// One relay.
struct Relay<'f> {
    fill: &'f Fill,
    input: RelayInput,
    writer: FillWriter<'f>,
    /// When the last byte came.
    received_at: Instant,
    /// When the last byte came that readers lacked, and how many bytes the file had then.
    grown_at: Instant,
    grown: u64,
    /// When the present upstream began to answer.
    asked_at: Instant,
    /// True once no other upstream could take over from a slow one.
    may_be_slow: bool,
}

/// Why the bytes of one upstream ended before the last one.
enum Stop {
    /// It broke off.
    BrokeOff(Cause),
    /// It sends nothing.
    Silent(Cause),
    /// It is slower than clients accept.
    Slow,
    /// It sent other bytes than those that were sent before.
    Differs(Miss),
    /// It has another file.
    Wrong(Miss),
    /// No upstream would help.
    Final(FillError),
}

impl Relay<'_> {
    fn run(&mut self) -> Result<(), FillError> {
        loop {
            let Err(stop) = self.copy() else { return self.verify_and_complete() };
            match stop {
                Stop::BrokeOff(cause) => {
                    self.input.failed(&cause);
                    self.log(&cause);
                    self.resume_here()
                        .or_else(|_| self.resume_elsewhere())
                        .map_err(|_| FillError::Final(cause.into()))?;
                }
                Stop::Silent(cause) => {
                    self.input.failed(&cause);
                    self.log(&cause);
                    self.resume_elsewhere()
                        .or_else(|_| self.resume_here())
                        .map_err(|_| FillError::Final(cause.into()))?;
                }
                Stop::Slow => self.may_be_slow = self.resume_elsewhere().is_err(),
                Stop::Differs(failure) => {
                    self.log(&failure);
                    self.resume_elsewhere().map_err(|_| FillError::Final(failure))?;
                }
                Stop::Wrong(failure) => return Err(self.refuse(failure)),
                Stop::Final(error) => return Err(error),
            }
        }
    }

    fn log(&self, failure: &dyn std::fmt::Display) {
        let (path, written) = (&self.fill.path, self.writer.written);
        tracing::warn!(path, written, %failure, "an upstream broke off");
    }

    /// Copies what the present upstream sends, up to the last byte.
    fn copy(&mut self) -> Result<(), Stop> {
        let (size, runtime) = (self.fill.entry.size(), self.fill.cache.runtime.clone());
        let (mut speed_since, mut bytes_since) = (Instant::now(), 0);
        loop {
            if self.fill.is_cancelled() {
                return Err(Stop::Final(FillError::Cancelled));
            }
            match runtime.block_on(async { tokio::time::timeout(TICK, self.input.chunk()).await }) {
                Ok(Ok(Some(bytes))) => {
                    self.received_at = Instant::now();
                    bytes_since += bytes.len() as u64;
                    if self.writer.position() + bytes.len() as u64 > size {
                        let text = format!("expected {size} bytes, found more");
                        return Err(Stop::Wrong(self.input.cause(CauseKind::Wrong, text).into()));
                    }
                    self.write(&bytes)?;
                    self.expect_growth()?;
                }
                Ok(Ok(None)) if self.writer.position() == size => return Ok(()),
                Ok(Ok(None)) => {
                    let text = format!("expected {size} bytes, found {}", self.writer.position());
                    return Err(Stop::BrokeOff(self.input.cause(CauseKind::Reset, text)));
                }
                Ok(Err(cause)) => return Err(Stop::BrokeOff(cause)),
                Err(_) => {
                    self.writer.announce_rest();
                    self.expect_growth()?;
                    if self.received_at.max(self.asked_at).elapsed() >= SILENCE_TIMEOUT {
                        let text = format!("expected bytes within {SILENCE_TIMEOUT:?}, found none");
                        return Err(Stop::Silent(self.input.cause(CauseKind::Timeout, text)));
                    }
                }
            }
            let took = speed_since.elapsed();
            if took >= SPEED_INTERVAL {
                if !self.may_be_slow && bytes_since < MIN_BYTES_PER_SECOND * took.as_secs() {
                    return Err(Stop::Slow);
                }
                (speed_since, bytes_since) = (Instant::now(), 0);
            }
        }
    }

    /// Expects that the file has grown within the stall timeout.
    fn expect_growth(&mut self) -> Result<(), Stop> {
        if self.writer.written != self.grown {
            // Bytes that differ from those that were not sent yet begin anew: readers still wait for the same ones.
            if self.writer.written > self.grown {
                self.grown_at = Instant::now();
            }
            self.grown = self.writer.written;
        }
        if self.grown_at.elapsed() < STALL_TIMEOUT {
            return Ok(());
        }
        let text = format!("expected further bytes within {STALL_TIMEOUT:?}, found those before again, or none");
        Err(Stop::Final(FillError::Final(self.input.cause(CauseKind::Timeout, text).into())))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.writer.write_all(bytes).map_err(|error| match self.writer.error.take() {
            Some(FillError::Source(failure)) => Stop::Wrong(failure),
            Some(FillError::Differs(failure)) => Stop::Differs(failure),
            Some(error) => Stop::Final(error),
            None => Stop::Final(FillError::Final(Miss::local(error.to_string()))),
        })
    }

    /// Asks the present upstream for the rest.
    fn resume_here(&mut self) -> Result<(), ()> {
        let (written, timeout) = (self.writer.written, self.resume_timeout());
        let resumed = self.fill.cache.runtime.block_on(self.input.resume_here(written, timeout));
        let position = resumed.map_err(|cause| self.log(&cause))?;
        self.continue_at(position);
        Ok(())
    }

    /// Asks the other upstreams for the whole file.
    fn resume_elsewhere(&mut self) -> Result<(), ()> {
        let timeout = self.resume_timeout();
        let resumed = self.fill.cache.runtime.block_on(self.input.resume_elsewhere(timeout));
        resumed.map_err(|cause| self.log(&cause))?;
        self.continue_at(0);
        Ok(())
    }

    fn resume_timeout(&self) -> Duration {
        STALL_TIMEOUT.saturating_sub(self.grown_at.elapsed()).min(RESUME_TIMEOUT)
    }

    fn continue_at(&mut self, position: u64) {
        self.writer.restart_at(position);
        self.asked_at = Instant::now();
        let (path, upstream, written) = (&self.fill.path, self.input.name(), self.writer.written);
        tracing::info!(path, upstream, written, position, "a relay continues");
    }

    /// All bytes are written.
    fn verify_and_complete(&mut self) -> Result<(), FillError> {
        match self.writer.verify() {
            Err(FillError::Source(failure)) => Err(self.refuse(failure)),
            Err(error) => Err(error),
            Ok(()) => self.writer.complete(),
        }
    }

    /// The present upstream gave another file than was asked for.
    fn refuse(&mut self, failure: Miss) -> FillError {
        let cause = match failure {
            Miss::Failed(cause) if cause.kind == CauseKind::Local => return FillError::Final(cause.into()),
            failure => self.input.cause(CauseKind::Wrong, failure.to_string()),
        };
        self.fill.cache.runtime.block_on(self.input.mark_wrong(&cause));
        FillError::Final(cause.into())
    }
}
