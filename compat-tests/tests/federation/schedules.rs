//! Random schedules of faults. Each follows from its seed, which a failed test prints; `DARKSERVER_SEED` runs one
//! alone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::scale;
use compat_tests::upstreams::{Fault, Random, Upstream, UpstreamFile};

use crate::client::{Ended, ask_for};
use crate::{BUDGET, DECIDED_WITHIN, Mode, configuration, debug_file, debuginfo};

/// How long a gateway may need to find what is there after all faults ended.
const RECOVERY: Duration = Duration::from_secs(30);
/// Longest time that a client reads a body.
const PATIENCE: Duration = Duration::from_secs(3);

/// Seeds of schedules. They run in threads: most of their time they wait.
fn seeds() -> (std::ops::Range<u64>, usize) {
    match std::env::var("DARKSERVER_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            (seed..seed + 1, 1)
        }
        Err(_) => scale((0..10, 3), (0..1000, 6)),
    }
}

#[test]
fn no_schedule_of_faults_makes_an_answer_wrong() {
    let (seeds, threads) = seeds();
    let next = AtomicU64::new(seeds.start);
    let index = Sqlite::with_packages(&[]);
    std::thread::scope(|scope| {
        let run = || {
            loop {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= seeds.end {
                    return;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| Schedule::new(seed, &index).run())) {
                    eprintln!("the schedule of DARKSERVER_SEED={seed} failed");
                    resume_unwind(panic);
                }
            }
        };
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        for thread in all {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}

/// One file, or a path without one.
struct Question {
    path: String,
    /// The file if an upstream has it.
    file: Option<UpstreamFile>,
    /// The numbers of the upstreams that have it.
    holders: Vec<usize>,
}

struct Schedule {
    seed: u64,
    random: Random,
    upstreams: Vec<Upstream>,
    questions: Vec<Question>,
    gateway: RunningGateway,
    /// What happened, for the message of a failure.
    history: Vec<String>,
}

impl Schedule {
    fn new(seed: u64, index: &Sqlite) -> Self {
        let mut random = Random::new(seed);
        let upstreams: Vec<Upstream> = (0..2 + random.below(3)).map(|_| Upstream::start(Fault::None)).collect();
        let mut questions = Vec::new();
        for number in 0..8 {
            let build_id = random.build_id();
            let tail = [0, 1000, 150_000][random.below(3)];
            let bytes = debug_file(&build_id, tail);
            let file = if random.below(4) == 0 { UpstreamFile::bare(bytes) } else { UpstreamFile::new(bytes) };
            // One of three does not exist.
            let mut holders = Vec::new();
            if number % 3 != 0 {
                holders.extend((0..upstreams.len()).filter(|_| random.below(2) == 0));
                if holders.is_empty() {
                    holders.push(random.below(upstreams.len()));
                }
            }
            for path in [debuginfo(&build_id), format!("/buildid/{build_id}/executable")] {
                for holder in &holders {
                    upstreams[*holder].add(&path, &file);
                }
                let file = Some(file.clone()).filter(|_| !holders.is_empty());
                questions.push(Question { path, file, holders: holders.clone() });
            }
        }
        let other = std::sync::Arc::new(debug_file(&random.build_id(), 1000));
        for upstream in &upstreams {
            upstream.set_other(&other);
        }
        let modes = upstreams.iter().map(|upstream| (Mode::BOTH[random.below(2)], upstream.url()));
        let text = configuration("", &modes.collect::<Vec<_>>());
        let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
        Self { seed, random, upstreams, questions, gateway, history: Vec::new() }
    }

    fn fault(&mut self) -> Fault {
        let at = self.random.below(150_000);
        let faults = [
            Fault::None,
            Fault::None,
            Fault::Status(500),
            Fault::Status(503),
            Fault::Status(403),
            Fault::Closes,
            Fault::Resets,
            Fault::Hangs,
            Fault::Hangs,
            Fault::EndlessHead,
            Fault::HugeHead,
            Fault::RedirectLoop,
            Fault::Page,
            Fault::SlowAtFirst(BUDGET * 2),
            Fault::Other,
            Fault::Empty,
            Fault::Partial,
            Fault::Stalls(at),
            Fault::Drips(at),
            Fault::EndsAt(at),
            Fault::EndsChunksAt(at),
            Fault::ResetsAt(at),
        ];
        faults[self.random.below(faults.len())]
    }

    fn run(mut self) {
        for _ in 0..12 {
            let number = self.random.below(self.upstreams.len());
            let fault = self.fault();
            self.history.push(format!("u{number}: {fault:?}"));
            self.upstreams[number].set(fault);
            for _ in 0..2 {
                let question = self.random.below(self.questions.len());
                self.ask(question);
            }
            std::thread::sleep(Duration::from_millis(self.random.below(150) as u64));
        }
        for upstream in &self.upstreams {
            upstream.set(Fault::None);
        }
        self.history.push("all faults ended".to_owned());
        let ended = Instant::now();
        let mut open: Vec<usize> = (0..self.questions.len()).collect();
        while !open.is_empty() {
            assert!(ended.elapsed() < RECOVERY, "{}", self.told(&format!("still without an answer: {open:?}")));
            let mut still = Vec::new();
            for question in open {
                // What does not exist is absent, what exists was found.
                if !self.ask(question) {
                    still.push(question);
                }
            }
            open = still;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks, and checks all that holds at any time. Returns true if the answer is final.
    fn ask(&mut self, number: usize) -> bool {
        let question = &self.questions[number];
        let reply = ask_for(&self.gateway, &question.path, PATIENCE);
        let shown: String = format!("{:?}", reply.ended).chars().take(80).collect();
        self.history.push(format!("question {number}: {shown} after {:?}", reply.decided));
        let question = &self.questions[number];
        assert!(reply.decided < DECIDED_WITHIN, "{}", self.told("decided too late"));
        match (&reply.ended, &question.file) {
            (Ended::Absent(_), None) => true,
            (Ended::Redirect(to), Some(_)) => {
                let mut urls = question.holders.iter().map(|holder| self.upstreams[*holder].url());
                assert!(urls.any(|url| *to == format!("{url}{}", question.path)), "{}", self.told("sent elsewhere"));
                true
            }
            (Ended::File(bytes), Some(file)) => {
                assert!(*bytes == *file.bytes, "{}", self.told("wrong bytes"));
                true
            }
            (Ended::BrokenOff(bytes) | Ended::Slow(bytes), Some(file)) => {
                assert!(file.bytes.starts_with(bytes), "{}", self.told("wrong bytes in a part"));
                false
            }
            (Ended::Unavailable, _) => false,
            _ => panic!("{}", self.told("an answer that no upstream gave")),
        }
    }

    fn told(&self, what: &str) -> String {
        let holders: Vec<_> = self.questions.iter().map(|question| &question.holders).collect();
        let history = self.history.join("\n  ");
        format!("DARKSERVER_SEED={}: {what}; holders: {holders:?}\n  {history}\n{}", self.seed, self.gateway.log())
    }
}
