//! A TCP proxy between a function and the database. It counts round trips, adds latency and injects network faults.

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

/// An upper bound for the time in which a few bytes reach another process of this machine.
const LOCAL_DELIVERY: Duration = Duration::from_millis(20);

/// A proxy that listens on its own port.
pub struct ChaosProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// The direction in which bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Direction {
    /// From the client: a request. It lasts until the server sends something.
    ToServer,
    /// From the server: a response. It lasts until the client sends something.
    ToClient,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// All further bytes are dropped, in both directions. The connection stays open.
    Blackhole,
    /// The connection is closed on both sides.
    Disconnect,
}

/// A fault that happens once, before a byte of a request or of a response. Bytes count from 0, round trips from 1.
#[derive(Clone, Copy, Debug)]
struct OneTimeFault {
    direction: Direction,
    round_trip: u64,
    byte: usize,
    fault: Fault,
}

#[derive(Default)]
struct Shared {
    round_trips: AtomicU64,
    /// Bytes of the request and of the response in the last round trip.
    last_round_trip: Mutex<(usize, usize)>,
    accepted_connections: AtomicU64,
    open_connections: AtomicU64,
    /// Connections up to this number are silent.
    last_silenced: AtomicU64,
    one_time_fault: Mutex<Option<OneTimeFault>>,
    /// A fault of every connection, and the round trip of that connection in which it happens.
    permanent_fault: Mutex<Option<(u64, Fault)>>,
    delay: Mutex<Duration>,
}

impl ChaosProxy {
    /// Starts a proxy to the server of `DATABASE_URL`.
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1").await
    }

    /// Starts a proxy on another loopback address.
    pub async fn start_on(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let for_all = shared.clone();
        let server = database_server();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = for_all.accepted_connections.fetch_add(1, Ordering::SeqCst) + 1;
                let shared = for_all.clone();
                let server = server.clone();
                tokio::spawn(async move {
                    // If the database is down, the client's connection is closed.
                    if let Ok(server) = TcpStream::connect(&server).await {
                        forward(client, server, number, &shared).await;
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// `DATABASE_URL` with the address of this proxy.
    pub fn url(&self) -> String {
        self.url_for(&database::url().expect("a DATABASE_URL"))
    }

    /// A connection string for the same server, with the address of this proxy.
    pub fn url_for(&self, url: &str) -> String {
        let address = format!("localhost:{}", self.address.port());
        url.replacen(&database_server(), &address, 1)
    }

    /// How often the client has started to send: at first, or after a response. A TCP handshake does not count, since
    /// the operating system does it.
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::SeqCst)
    }

    /// How many connections the proxy has accepted so far.
    pub fn accepted_connections(&self) -> u64 {
        self.shared.accepted_connections.load(Ordering::SeqCst)
    }

    /// How many connections the client has not closed yet.
    pub fn open_connections(&self) -> u64 {
        self.shared.open_connections.load(Ordering::SeqCst)
    }

    /// Injects a fault that happens once. It skips `after` round trips, and happens before this byte of the request or
    /// the response of the next one.
    pub fn inject_once(&self, direction: Direction, after: u64, byte: usize, fault: Fault) {
        *self.shared.one_time_fault.lock().expect("no panic") = Some(OneTimeFault {
            direction,
            round_trip: self.round_trips() + after + 1,
            byte,
            fault,
        });
    }

    /// Whether the fault of [`ChaosProxy::inject_once`] has happened.
    pub fn triggered(&self) -> bool {
        let fault = self.shared.one_time_fault.lock().expect("no panic");
        fault.is_none()
    }

    /// Drops all further bytes of the connections that are open now. New connections work.
    pub fn silence_open_connections(&self) {
        let last = self.accepted_connections();
        self.shared.last_silenced.store(last, Ordering::SeqCst);
    }

    /// Injects a fault into every connection until [`ChaosProxy::clear`]. It happens at the start of this round trip
    /// of the connection, counted from 1.
    pub fn inject_always(&self, round_trip: u64, fault: Fault) {
        *self.shared.permanent_fault.lock().expect("no panic") = Some((round_trip, fault));
    }

    /// Ends the effect of [`ChaosProxy::inject_always`] on new connections.
    pub fn clear(&self) {
        *self.shared.permanent_fault.lock().expect("no panic") = None;
    }

    /// Waits until the client has closed all connections.
    pub async fn wait_until_closed(&self) {
        for _ in 0..1_000 {
            if self.open_connections() == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{} open connections", self.open_connections());
    }

    /// Adds latency in each direction, also to the TCP handshake.
    pub fn set_delay(&self, delay: Duration) {
        *self.shared.delay.lock().expect("no panic") = delay;
    }
}

/// The host and port in `DATABASE_URL`.
fn database_server() -> String {
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

/// One forwarded connection.
struct Connection<'a> {
    number: u64,
    shared: &'a Shared,
    round_trips: AtomicU64,
    client_sent_last: AtomicBool,
    is_silent: AtomicBool,
}

/// Sends bytes to the task that writes them, with the time at which it writes them.
type DelayedWrites = mpsc::UnboundedSender<(Instant, Vec<u8>)>;

async fn forward(client: TcpStream, server: TcpStream, number: u64, shared: &Shared) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    // The latency of the TCP handshake, which is complete already.
    let delay = *shared.delay.lock().expect("no panic");
    sleep(2 * delay).await;
    let connection = Connection {
        number,
        shared,
        round_trips: AtomicU64::new(0),
        client_sent_last: AtomicBool::new(false),
        is_silent: AtomicBool::new(false),
    };
    let (client_reader, client_writer) = client.into_split();
    let (server_reader, server_writer) = server.into_split();
    let (to_server, server_queue) = mpsc::unbounded_channel();
    let (to_client, client_queue) = mpsc::unbounded_channel();
    // An error of a reader drops all four futures, which closes both sockets.
    let _ = tokio::try_join!(
        connection.read(client_reader, to_server, Direction::ToServer),
        connection.read(server_reader, to_client, Direction::ToClient),
        connection.write(server_writer, server_queue),
        connection.write(client_writer, client_queue),
    );
}

/// A [`Fault::Disconnect`] has happened.
struct Disconnected;

/// Counts as one open connection until it is dropped.
struct OpenConnection<'a>(&'a AtomicU64);

impl<'a> OpenConnection<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connection<'_> {
    async fn read(
        &self,
        mut from: OwnedReadHalf,
        to: DelayedWrites,
        direction: Direction,
    ) -> Result<(), Disconnected> {
        let mut buffer = vec![0; 64 * 1024];
        let open = (direction == Direction::ToServer)
            .then(|| OpenConnection::new(&self.shared.open_connections));
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if self.is_silent() {
                continue;
            }
            let delay = *self.shared.delay.lock().expect("no panic");
            let (passed, fault) = self.pass(direction, count);
            // This fails if the other side has closed the connection.
            let _ = to.send((Instant::now() + delay, buffer[..passed].to_vec()));
            match fault {
                None => {}
                Some(Fault::Blackhole) => self.is_silent.store(true, Ordering::SeqCst),
                Some(Fault::Disconnect) => {
                    // The bytes before the fault must arrive.
                    sleep(delay + LOCAL_DELIVERY).await;
                    return Err(Disconnected);
                }
            }
        }
        drop(open);
        // On a silent connection the other side must not notice the end of this side.
        if self.is_silent() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn write(
        &self,
        mut to: OwnedWriteHalf,
        mut writes: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    ) -> Result<(), Disconnected> {
        while let Some((when, bytes)) = writes.recv().await {
            sleep_until(when).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // This fails if the receiver has closed the connection first.
        let _ = to.shutdown().await;
        Ok(())
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::SeqCst)
            || self.number <= self.shared.last_silenced.load(Ordering::SeqCst)
    }

    /// Counts bytes that one side has sent. Returns how many of them to forward, and the fault that follows.
    fn pass(&self, direction: Direction, count: usize) -> (usize, Option<Fault>) {
        let is_request = direction == Direction::ToServer;
        let client_sent_last = self.client_sent_last.swap(is_request, Ordering::SeqCst);
        let mut last = self.shared.last_round_trip.lock().expect("no panic");
        if is_request && !client_sent_last {
            self.shared.round_trips.fetch_add(1, Ordering::SeqCst);
            self.round_trips.fetch_add(1, Ordering::SeqCst);
            *last = (0, 0);
        }
        match *self.shared.permanent_fault.lock().expect("no panic") {
            Some((from, fault)) if self.round_trips.load(Ordering::SeqCst) >= from => {
                return (0, Some(fault));
            }
            _ => {}
        }
        let bytes = if is_request { &mut last.0 } else { &mut last.1 };
        let before = *bytes;
        *bytes += count;
        let round_trip = self.shared.round_trips.load(Ordering::SeqCst);
        let mut one_time_fault = self.shared.one_time_fault.lock().expect("no panic");
        match *one_time_fault {
            Some(next)
                if next.direction == direction
                    && next.round_trip == round_trip
                    && next.byte < before + count =>
            {
                *one_time_fault = None;
                (next.byte.saturating_sub(before), Some(next.fault))
            }
            _ => (count, None),
        }
    }
}
