//! Turns for what only so many can do at once. Nobody is refused: to a debuginfod client any error is a miss for ten minutes.
//!
//! A client has at most half of the turns, so that the next one finds some free; and when all are taken, those who wait get theirs in
//! rotation of clients, not of requests. Whoever asks for a thousand things delays himself.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;
use prometheus::{Histogram, IntGauge};
use tokio::sync::oneshot;

use crate::metrics::METRICS;

/// Who shares: the address that a question comes from, of IPv6 the network of a site (64 bits), `None` for a unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Client(Option<IpAddr>);

impl Client {
    /// The client at an address.
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

/// The turns, and who waits for one.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Shared>);

struct Shared {
    /// The most of one client.
    each: usize,
    state: Mutex<State>,
    waiting: IntGauge,
    seconds: Histogram,
}

#[derive(Default)]
struct State {
    free: usize,
    next_number: u64,
    clients: HashMap<Client, Line, RandomState>,
    /// Clients of whom somebody waits. While a turn is free, all of them have as many as a client may have.
    rotation: VecDeque<Client>,
}

/// What one client has, and waits for.
#[derive(Default)]
struct Line {
    held: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// Somebody's turn, until it is dropped.
pub(crate) struct Turn {
    /// `None` for one that nobody took.
    of: Option<(Turns, Client)>,
}

/// A place in a line, left when it is dropped.
struct Place<'t> {
    turns: &'t Turns,
    client: Client,
    number: u64,
}

impl Turns {
    /// So many turns, which metrics call so.
    pub(crate) fn new(most: usize, name: &str) -> Self {
        let state = Mutex::new(State { free: most, ..State::default() });
        let waiting = METRICS.permits_waiting.with_label_values(&[name]);
        let seconds = METRICS.permit_wait.with_label_values(&[name]);
        Self(Arc::new(Shared { each: most.div_ceil(2), state, waiting, seconds }))
    }

    /// A turn, if one is free for this client.
    pub(crate) fn take_free(&self, client: Client) -> Option<Turn> {
        self.free_one(&mut self.state(), client)
    }

    /// A turn, as soon as it is this client's.
    pub(crate) async fn take(&self, client: Client) -> Turn {
        let (place, turn) = {
            let mut state = self.state();
            if let Some(turn) = self.free_one(&mut state, client) {
                return turn;
            }
            let number = state.next_number;
            state.next_number += 1;
            let (sender, turn) = oneshot::channel();
            let line = state.clients.entry(client).or_default();
            line.waiting.push_back((number, sender));
            if line.waiting.len() == 1 {
                state.rotation.push_back(client);
            }
            (Place { turns: self, client, number }, turn)
        };
        self.0.waiting.inc();
        let began = Instant::now();
        let turn = turn.await;
        self.0.seconds.observe(began.elapsed().as_secs_f64());
        drop(place);
        // A sender is dropped with its place alone, which was ours.
        turn.unwrap_or(Turn { of: None })
    }

    fn free_one(&self, state: &mut State, client: Client) -> Option<Turn> {
        if state.free == 0 {
            return None;
        }
        let line = state.clients.entry(client).or_default();
        if line.held >= self.0.each {
            return None;
        }
        line.held += 1;
        state.free -= 1;
        Some(Turn { of: Some((self.clone(), client)) })
    }

    /// Takes back a turn of `client`, and gives what is free to those who wait.
    fn give_back(&self, client: Client) {
        let mut state = self.state();
        state.free += 1;
        if let Some(line) = state.clients.get_mut(&client) {
            line.held -= 1;
            if line.held == 0 && line.waiting.is_empty() {
                state.clients.remove(&client);
            }
        }
        // What nobody takes any more is dropped when the lock is free again.
        let mut refused = Vec::new();
        for _ in 0..state.rotation.len() {
            if state.free == 0 {
                break;
            }
            let Some(client) = state.rotation.pop_front() else { break };
            if let Some(turn) = self.free_one(&mut state, client)
                && let Some(line) = state.clients.get_mut(&client)
                && let Some((_, sender)) = line.waiting.pop_front()
                && let Err(turn) = sender.send(turn)
            {
                refused.push(turn);
            }
            if state.clients.get(&client).is_some_and(|line| !line.waiting.is_empty()) {
                state.rotation.push_back(client);
            }
        }
        drop(state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((turns, client)) = self.of.take() {
            turns.give_back(client);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.0.waiting.dec();
        let mut state = self.turns.state();
        let Some(line) = state.clients.get_mut(&self.client) else { return };
        line.waiting.retain(|(number, _)| *number != self.number);
        let is_gone = line.waiting.is_empty();
        if is_gone && line.held == 0 {
            state.clients.remove(&self.client);
        }
        if is_gone {
            state.rotation.retain(|client| *client != self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn client(number: u8) -> Client {
        Client::at([192, 0, 2, number].into())
    }

    fn is_empty(turns: &Turns) -> bool {
        let state = turns.state();
        state.clients.is_empty() && state.rotation.is_empty() && turns.0.waiting.get() == 0
    }

    #[tokio::test]
    async fn a_client_has_at_most_half_of_the_turns() {
        let turns = Turns::new(5, "test half");
        let held: Vec<Turn> = futures::future::join_all((0..3).map(|_| turns.take(client(1)))).await;
        assert!(turns.take(client(1)).now_or_never().is_none());
        let others = [turns.take(client(2)).await, turns.take(client(3)).await];
        assert!(turns.take(client(4)).now_or_never().is_none());
        drop((held, others));
        assert!(is_empty(&turns));
        assert_eq!(turns.state().free, 5);
    }

    #[tokio::test]
    async fn turns_go_around_among_clients_not_requests() {
        let turns = Turns::new(1, "test around");
        let first = turns.take(client(1)).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let ask = |number: u8| {
            let (turns, order) = (turns.clone(), order.clone());
            tokio::spawn(async move {
                let _turn = turns.take(client(number)).await;
                order.lock().unwrap().push(number);
            })
        };
        let mut tasks = Vec::new();
        for number in [1, 1, 1, 2, 2, 3] {
            tasks.push(ask(number));
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.0.waiting.get(), 6);
        drop(first);
        futures::future::join_all(tasks).await;
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 1, 2, 1]);
        assert!(is_empty(&turns));
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_line_and_takes_no_turn_along() {
        let turns = Turns::new(2, "test leaves");
        let held = [turns.take(client(1)).await, turns.take(client(2)).await];
        let mut leaves = Box::pin(turns.take(client(3)));
        let mut leaves_late = Box::pin(turns.take(client(4)));
        let mut stays = Box::pin(turns.take(client(5)));
        for waits in [&mut leaves, &mut leaves_late, &mut stays] {
            assert!(waits.now_or_never().is_none());
        }
        drop(leaves);
        // It gets the turn, and goes before it sees that.
        drop(held);
        drop(leaves_late);
        let turn = stays.await;
        assert_eq!(turns.state().free, 1);
        drop(turn);
        assert!(is_empty(&turns));
        assert_eq!(turns.state().free, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_turn_is_lost_or_made_whatever_happens() {
        let turns = Turns::new(7, "test many");
        let under_way = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let ask = |number: u32| {
            let (turns, under_way) = (turns.clone(), under_way.clone());
            tokio::spawn(async move {
                let take = async {
                    let _turn = turns.take(client(u8::try_from(number % 5).unwrap())).await;
                    let before = under_way.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert!(before < 7);
                    tokio::task::yield_now().await;
                    under_way.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                };
                // Some lose patience at any moment before they have it.
                if number.is_multiple_of(3) {
                    let _ = tokio::time::timeout(
                        std::time::Duration::from_micros(u64::from(number % 50)),
                        turns.take(client(9)),
                    )
                    .await;
                }
                take.await;
            })
        };
        for task in (0..2_000).map(ask).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!(is_empty(&turns));
        assert_eq!(turns.state().free, 7);
    }

    #[test]
    fn a_site_with_ipv6_is_one_client() {
        let client = |text: &str| Client::at(text.parse().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }
}
