//! A relay between a function and the database, which counts round trips, and does to them what networks do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::database;

/// How long the machine takes to hand a few bytes to another process, and more.
const ARRIVAL: Duration = Duration::from_millis(20);

/// A relay on a port of its own.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    /// What the client sends until the server answers.
    Question,
    /// What the server sends until the client asks again.
    Answer,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing gets through any more, in either direction, and no side learns of it.
    Silence,
    /// Both sides see it closed.
    Cut,
}

/// A fault that waits for its moment: before a byte of a question or an answer, counted from 0 as the round trips are
/// from 1.
#[derive(Clone, Copy, Debug)]
struct Trap {
    side: Side,
    round_trip: u64,
    byte: usize,
    fault: Fault,
}

#[derive(Default)]
struct Shared {
    round_trips: AtomicU64,
    /// Bytes of the question, and then of the answer, of the last round trip.
    last: Mutex<(usize, usize)>,
    accepted: AtomicU64,
    open: AtomicU64,
    /// Connections up to this number are silent.
    silent: AtomicU64,
    trap: Mutex<Option<Trap>>,
    /// What befalls every connection, at this round trip of its own.
    affliction: Mutex<Option<(u64, Fault)>>,
    delay: Mutex<Duration>,
}

impl Relay {
    /// Starts a relay to the database of `DATABASE_URL`.
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1").await
    }

    /// Starts a relay on another loopback address.
    pub async fn start_on(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let for_all = shared.clone();
        let server = server();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = for_all.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let shared = for_all.clone();
                let server = server.clone();
                tokio::spawn(async move {
                    // Where the database is down, so is its host.
                    if let Ok(server) = TcpStream::connect(&server).await {
                        connect(client, server, number, &shared).await;
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// `DATABASE_URL` by way of this relay.
    pub fn url(&self) -> String {
        self.before(&database::url().expect("a DATABASE_URL"))
    }

    /// A connection string to the same server, by way of this relay.
    pub fn before(&self, url: &str) -> String {
        url.replacen(&server(), &format!("localhost:{}", self.address.port()), 1)
    }

    /// How often the client has sent something after an answer, or as the first thing. The handshake of TCP, which a
    /// relay does not see, is not among them.
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::SeqCst)
    }

    /// How many bytes the question of the last round trip had, and its answer.
    pub fn last_bytes(&self) -> (usize, usize) {
        *self.shared.last.lock().expect("no panic")
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections there are that the client has not closed.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Lets a fault happen once: before this byte of the question, or the answer, of the round trip that comes after so
    /// many others.
    pub fn trap(&self, side: Side, after: u64, byte: usize, fault: Fault) {
        *self.shared.trap.lock().expect("no panic") = Some(Trap {
            side,
            round_trip: self.round_trips() + after + 1,
            byte,
            fault,
        });
    }

    /// Whether the fault of [`Relay::trap`] has happened.
    pub fn has_sprung(&self) -> bool {
        self.shared.trap.lock().expect("no panic").is_none()
    }

    /// Silences the connections that there are; new ones get through.
    pub fn silence_present(&self) {
        self.shared.silent.store(self.accepted(), Ordering::SeqCst);
    }

    /// Lets a fault befall every connection, until they are [healed](Self::heal): before it sends anything in this
    /// round trip of its own, counted from 1.
    pub fn afflict(&self, round_trip: u64, fault: Fault) {
        *self.shared.affliction.lock().expect("no panic") = Some((round_trip, fault));
    }

    /// Lets new connections through.
    pub fn heal(&self) {
        *self.shared.affliction.lock().expect("no panic") = None;
    }

    /// Waits until the client has closed all connections.
    pub async fn left(&self) {
        for _ in 0..1_000 {
            if self.open() == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{} open connections", self.open());
    }

    /// Lets everything take this much longer, each way, the handshake of TCP too.
    pub fn delay(&self, delay: Duration) {
        *self.shared.delay.lock().expect("no panic") = delay;
    }
}

/// The host and port in `DATABASE_URL`.
fn server() -> String {
    server_of(&database::url().expect("a DATABASE_URL"))
}

/// The host and port in a connection string.
pub(crate) fn server_of(url: &str) -> String {
    let location = url.split_once('@').expect("credentials").1;
    location
        .split(['/', '?'])
        .next()
        .expect("a host")
        .to_owned()
}

/// One connection.
struct Link<'a> {
    number: u64,
    shared: &'a Shared,
    round_trips: AtomicU64,
    /// Whether the client was the last to send.
    asking: AtomicBool,
    is_silent: AtomicBool,
}

/// What is to be sent, and when.
type Parcels = mpsc::UnboundedSender<(Instant, Vec<u8>)>;

async fn connect(client: TcpStream, server: TcpStream, number: u64, shared: &Shared) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    // The handshake of TCP, which the system has done by itself.
    let delay = *shared.delay.lock().expect("no panic");
    sleep(2 * delay).await;
    let link = Link {
        number,
        shared,
        round_trips: AtomicU64::new(0),
        asking: AtomicBool::new(false),
        is_silent: AtomicBool::new(false),
    };
    let (client_reader, client_writer) = client.into_split();
    let (server_reader, server_writer) = server.into_split();
    let (to_server, at_server) = mpsc::unbounded_channel();
    let (to_client, at_client) = mpsc::unbounded_channel();
    // Where one of the readers has a cut to make, everything is dropped, and with it both sockets.
    let _ = tokio::try_join!(
        link.read(client_reader, to_server, Side::Question),
        link.read(server_reader, to_client, Side::Answer),
        link.write(server_writer, at_server),
        link.write(client_writer, at_client),
    );
}

struct IsCut;

/// Counts as one for as long as it lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn count(open: &'a AtomicU64) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Link<'_> {
    async fn read(&self, mut from: OwnedReadHalf, to: Parcels, side: Side) -> Result<(), IsCut> {
        let mut buffer = vec![0; 64 * 1024];
        let open = (side == Side::Question).then(|| Open::count(&self.shared.open));
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if self.is_silent() {
                continue;
            }
            let delay = *self.shared.delay.lock().expect("no panic");
            let (passed, fault) = self.pass(side, count);
            // The other side may be gone.
            let _ = to.send((Instant::now() + delay, buffer[..passed].to_vec()));
            match fault {
                None => {}
                Some(Fault::Silence) => self.is_silent.store(true, Ordering::SeqCst),
                Some(Fault::Cut) => {
                    // What was passed is to arrive.
                    sleep(delay + ARRIVAL).await;
                    return Err(IsCut);
                }
            }
        }
        drop(open);
        // A side that is silent does not hear that the other one is gone.
        if self.is_silent() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn write(
        &self,
        mut to: OwnedWriteHalf,
        mut parcels: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    ) -> Result<(), IsCut> {
        while let Some((when, bytes)) = parcels.recv().await {
            sleep_until(when).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // The other side is gone; it may have been the first to know.
        let _ = to.shutdown().await;
        Ok(())
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::SeqCst)
            || self.number <= self.shared.silent.load(Ordering::SeqCst)
    }

    /// Counts bytes that one side has sent, and says how many of them get through before which fault.
    fn pass(&self, side: Side, count: usize) -> (usize, Option<Fault>) {
        let is_question = side == Side::Question;
        let was_asking = self.asking.swap(is_question, Ordering::SeqCst);
        let mut last = self.shared.last.lock().expect("no panic");
        if is_question && !was_asking {
            self.shared.round_trips.fetch_add(1, Ordering::SeqCst);
            self.round_trips.fetch_add(1, Ordering::SeqCst);
            *last = (0, 0);
        }
        match *self.shared.affliction.lock().expect("no panic") {
            Some((from, fault)) if self.round_trips.load(Ordering::SeqCst) >= from => {
                return (0, Some(fault));
            }
            _ => {}
        }
        let bytes = if is_question {
            &mut last.0
        } else {
            &mut last.1
        };
        let before = *bytes;
        *bytes += count;
        let round_trip = self.shared.round_trips.load(Ordering::SeqCst);
        let mut trap = self.shared.trap.lock().expect("no panic");
        match *trap {
            Some(set)
                if set.side == side
                    && set.round_trip == round_trip
                    && set.byte < before + count =>
            {
                *trap = None;
                (set.byte.saturating_sub(before), Some(set.fault))
            }
            _ => (count, None),
        }
    }
}
