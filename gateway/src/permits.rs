//! Fair concurrency limiter: requests over the limit queue per client and are never rejected.
//!
//! A debuginfod client remembers any error as a miss for ten minutes, so waiting is the better answer. One client holds
//! at most half of the permits. While none is free, released permits rotate among the clients with queued requests.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use prometheus::{Histogram, IntGauge};
use tokio::sync::oneshot;

use crate::locked::locked;
use crate::metrics::METRICS;

/// Pause between two checks whether another request already did the work.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The address that permits are shared by: of IPv6 the network of a site (64 bits), `None` for a Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(Option<IpAddr>);

impl ClientAddress {
    /// The client at an IP address.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        }))
    }
}

/// A number of permits and the queue for them. Clones share both.
#[derive(Clone)]
pub(crate) struct Permits(Arc<Limiter>);

struct Limiter {
    /// The maximum that one client holds.
    max_per_client: usize,
    queues: Mutex<Queues>,
    /// Number of queued requests.
    queued_count: IntGauge,
    /// Time that requests were queued for, seconds.
    wait_seconds: Histogram,
}

#[derive(Default)]
struct Queues {
    free: usize,
    next_number: u64,
    clients: HashMap<ClientAddress, ClientQueue, RandomState>,
    /// Clients with queued requests. While a permit is free, each of them holds its maximum.
    rotation: VecDeque<ClientAddress>,
}

/// The permits that one client holds, and its queued requests.
#[derive(Default)]
struct ClientQueue {
    held: usize,
    /// The number and the sender of each.
    requests: VecDeque<(u64, oneshot::Sender<Permit>)>,
}

/// One permit, released when it is dropped.
pub(crate) struct Permit {
    /// `None` for a permit of a queue that was dropped.
    holder: Option<(Permits, ClientAddress)>,
}

/// A permit, or what another request found meanwhile, so that none is needed.
pub(crate) enum PermitOr<T> {
    Permit(Permit),
    Found(T),
}

/// A queued request, removed from its queue when it is dropped.
struct QueuedRequest<'p> {
    permits: &'p Permits,
    client: ClientAddress,
    number: u64,
}

impl Permits {
    /// `max` permits. `name` is their label in metrics.
    pub(crate) fn new(max: usize, name: &str) -> Self {
        let queues = Mutex::new(Queues { free: max, ..Queues::default() });
        let queued_count = METRICS.permits_waiting.with_label_values(&[name]);
        let wait_seconds = METRICS.permit_wait.with_label_values(&[name]);
        Self(Arc::new(Limiter { max_per_client: max.div_ceil(2), queues, queued_count, wait_seconds }))
    }

    /// Acquires a permit without waiting. `None` if none is free for this client.
    pub(crate) fn try_acquire(&self, client: ClientAddress) -> Option<Permit> {
        self.acquire_free(&mut self.queues(), client)
    }

    /// Acquires a permit, in the fair queue if none is free for this client.
    pub(crate) async fn acquire(&self, client: ClientAddress) -> Permit {
        let (queued, permit) = {
            let mut queues = self.queues();
            if let Some(permit) = self.acquire_free(&mut queues, client) {
                return permit;
            }
            let number = queues.next_number;
            queues.next_number += 1;
            let (sender, permit) = oneshot::channel();
            let queue = queues.clients.entry(client).or_default();
            queue.requests.push_back((number, sender));
            if queue.requests.len() == 1 {
                queues.rotation.push_back(client);
            }
            (QueuedRequest { permits: self, client, number }, permit)
        };
        self.0.queued_count.inc();
        let began = Instant::now();
        let permit = permit.await;
        self.0.wait_seconds.observe(began.elapsed().as_secs_f64());
        drop(queued);
        // A sender is dropped only together with its `QueuedRequest`, which was held until here.
        permit.unwrap_or(Permit { holder: None })
    }

    /// Acquires a permit in the fair queue within `timeout`, unless `found` returns something meanwhile: another
    /// request may do the same work. `None` if neither happens.
    pub(crate) async fn acquire_unless<T, F>(
        &self,
        client: ClientAddress,
        timeout: Duration,
        found: impl Fn() -> F,
    ) -> Option<PermitOr<T>>
    where
        F: Future<Output = Option<T>>,
    {
        let began = Instant::now();
        let mut permit = std::pin::pin!(self.acquire(client));
        while began.elapsed() < timeout {
            if let Ok(permit) = tokio::time::timeout(POLL_INTERVAL, &mut permit).await {
                return Some(PermitOr::Permit(permit));
            }
            if let Some(found) = found().await {
                return Some(PermitOr::Found(found));
            }
        }
        None
    }

    fn acquire_free(&self, queues: &mut Queues, client: ClientAddress) -> Option<Permit> {
        if queues.free == 0 {
            return None;
        }
        let queue = queues.clients.entry(client).or_default();
        if queue.held >= self.0.max_per_client {
            return None;
        }
        queue.held += 1;
        queues.free -= 1;
        Some(Permit { holder: Some((self.clone(), client)) })
    }

    /// Releases a permit of `client`, and hands free permits to queued requests.
    fn release(&self, client: ClientAddress) {
        let mut queues = self.queues();
        queues.free += 1;
        if let Some(queue) = queues.clients.get_mut(&client) {
            queue.held -= 1;
            if queue.held == 0 && queue.requests.is_empty() {
                queues.clients.remove(&client);
            }
        }
        // Permits of cancelled requests are released by their drop, which needs the lock: after it is unlocked.
        let mut refused = Vec::new();
        for _ in 0..queues.rotation.len() {
            if queues.free == 0 {
                break;
            }
            let Some(client) = queues.rotation.pop_front() else { break };
            if let Some(permit) = self.acquire_free(&mut queues, client)
                && let Some(queue) = queues.clients.get_mut(&client)
                && let Some((_, sender)) = queue.requests.pop_front()
                && let Err(permit) = sender.send(permit)
            {
                refused.push(permit);
            }
            if queues.clients.get(&client).is_some_and(|queue| !queue.requests.is_empty()) {
                queues.rotation.push_back(client);
            }
        }
        drop(queues);
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        locked(&self.0.queues)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((permits, client)) = self.holder.take() {
            permits.release(client);
        }
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        self.permits.0.queued_count.dec();
        let mut queues = self.permits.queues();
        let Some(queue) = queues.clients.get_mut(&self.client) else { return };
        queue.requests.retain(|(number, _)| *number != self.number);
        let is_empty = queue.requests.is_empty();
        if is_empty && queue.held == 0 {
            queues.clients.remove(&self.client);
        }
        if is_empty {
            queues.rotation.retain(|client| *client != self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn client(number: u8) -> ClientAddress {
        ClientAddress::at([192, 0, 2, number].into())
    }

    fn is_empty(permits: &Permits) -> bool {
        let queues = permits.queues();
        queues.clients.is_empty() && queues.rotation.is_empty() && permits.0.queued_count.get() == 0
    }

    #[tokio::test]
    async fn a_client_holds_at_most_half_of_the_permits() {
        let permits = Permits::new(5, "test half");
        let held: Vec<Permit> = futures::future::join_all((0..3).map(|_| permits.acquire(client(1)))).await;
        assert!(permits.acquire(client(1)).now_or_never().is_none());
        let others = [permits.acquire(client(2)).await, permits.acquire(client(3)).await];
        assert!(permits.acquire(client(4)).now_or_never().is_none());
        drop((held, others));
        assert!(is_empty(&permits));
        assert_eq!(permits.queues().free, 5);
    }

    #[tokio::test]
    async fn permits_rotate_among_clients_not_requests() {
        let permits = Permits::new(1, "test rotation");
        let first = permits.acquire(client(1)).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let ask = |number: u8| {
            let (permits, order) = (permits.clone(), order.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire(client(number)).await;
                order.lock().unwrap().push(number);
            })
        };
        let mut tasks = Vec::new();
        for number in [1, 1, 1, 2, 2, 3] {
            tasks.push(ask(number));
            tokio::task::yield_now().await;
        }
        assert_eq!(permits.0.queued_count.get(), 6);
        drop(first);
        futures::future::join_all(tasks).await;
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 1, 2, 1]);
        assert!(is_empty(&permits));
    }

    #[tokio::test]
    async fn a_cancelled_request_leaves_the_queue_and_keeps_no_permit() {
        let permits = Permits::new(2, "test cancelled");
        let held = [permits.acquire(client(1)).await, permits.acquire(client(2)).await];
        let mut cancelled = Box::pin(permits.acquire(client(3)));
        let mut cancelled_late = Box::pin(permits.acquire(client(4)));
        let mut stays = Box::pin(permits.acquire(client(5)));
        for waiting in [&mut cancelled, &mut cancelled_late, &mut stays] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(cancelled);
        // It is handed a permit, and is dropped before it sees that.
        drop(held);
        drop(cancelled_late);
        let permit = stays.await;
        assert_eq!(permits.queues().free, 1);
        drop(permit);
        assert!(is_empty(&permits));
        assert_eq!(permits.queues().free, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_permit_is_lost_or_added() {
        let permits = Permits::new(7, "test many");
        let under_way = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let ask = |number: u32| {
            let (permits, under_way) = (permits.clone(), under_way.clone());
            tokio::spawn(async move {
                let acquire = async {
                    let _permit = permits.acquire(client(u8::try_from(number % 5).unwrap())).await;
                    let before = under_way.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert!(before < 7);
                    tokio::task::yield_now().await;
                    under_way.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                };
                // Some are cancelled at any moment before they have a permit.
                if number.is_multiple_of(3) {
                    let _ = tokio::time::timeout(
                        std::time::Duration::from_micros(u64::from(number % 50)),
                        permits.acquire(client(9)),
                    )
                    .await;
                }
                acquire.await;
            })
        };
        for task in (0..2_000).map(ask).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!(is_empty(&permits));
        assert_eq!(permits.queues().free, 7);
    }

    #[test]
    fn an_ipv6_site_is_one_client() {
        let client = |text: &str| ClientAddress::at(text.parse().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }
}
