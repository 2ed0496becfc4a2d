//! A relay between a function and the database, which counts round trips.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::database;

/// A relay on a port of its own.
pub struct Relay {
    port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    round_trips: AtomicU64,
    /// Whether the client was the last to send.
    asking: AtomicBool,
}

impl Relay {
    /// Starts a relay to the database of `DATABASE_URL`.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        let server = server();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the database");
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("a socket");
                }
                let (client_reader, client_writer) = client.into_split();
                let (server_reader, server_writer) = server.into_split();
                let (questions, answers) = (shared.clone(), shared.clone());
                tokio::spawn(pass(client_reader, server_writer, move || {
                    if !questions.asking.swap(true, Ordering::SeqCst) {
                        questions.round_trips.fetch_add(1, Ordering::SeqCst);
                    }
                }));
                tokio::spawn(pass(server_reader, client_writer, move || {
                    answers.asking.store(false, Ordering::SeqCst);
                }));
            }
        });
        Self { port, counts }
    }

    /// `DATABASE_URL` by way of this relay.
    pub fn url(&self) -> String {
        let url = database::url().expect("a DATABASE_URL");
        url.replacen(&server(), &format!("localhost:{}", self.port), 1)
    }

    /// How often the client has sent something after an answer, or as the first thing.
    pub fn round_trips(&self) -> u64 {
        self.counts.round_trips.load(Ordering::SeqCst)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

/// The host and port in `DATABASE_URL`.
fn server() -> String {
    let url = database::url().expect("a DATABASE_URL");
    let location = url.split_once('@').expect("credentials").1;
    location
        .split(['/', '?'])
        .next()
        .expect("a host")
        .to_owned()
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: impl Fn()) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        seen();
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    // The other side is gone; it may have been the first to know.
    let _ = to.shutdown().await;
}
