//! A relay between a function and the database, which counts round trips.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::certificate::SelfSigned;
use crate::database;

/// A relay on a port of its own.
pub struct Relay {
    address: SocketAddr,
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
        Self::start_on("127.0.0.1").await
    }

    /// Starts a relay on another loopback address.
    pub async fn start_on(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
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
        Self { address, counts }
    }

    /// `DATABASE_URL` by way of this relay.
    pub fn url(&self) -> String {
        let url = database::url().expect("a DATABASE_URL");
        url.replacen(&server(), &format!("localhost:{}", self.address.port()), 1)
    }

    /// How often the client has sent something after an answer, or as the first thing.
    pub fn round_trips(&self) -> u64 {
        self.counts.round_trips.load(Ordering::SeqCst)
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

/// A server that begins with TLS at once, as PostgreSQL does from version 17 on, in front of one that may not.
pub struct DirectTls {
    address: SocketAddr,
    /// What the last client and it agreed to speak.
    protocol: Arc<Mutex<Option<Vec<u8>>>>,
}

/// Asks a server in clear text to begin with TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

impl DirectTls {
    /// Starts one with a certificate of its own before the database of `DATABASE_URL`.
    pub async fn start(certificate: &SelfSigned) -> Self {
        let mut acceptor = native_tls::TlsAcceptor::builder(certificate.identity());
        acceptor.accept_alpn(&["postgresql"]);
        let acceptor = tokio_native_tls::TlsAcceptor::from(acceptor.build().expect("an acceptor"));
        let connector = tokio_native_tls::TlsConnector::from(
            native_tls::TlsConnector::new().expect("a connector"),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let protocol = Arc::new(Mutex::new(None));
        let agreed = protocol.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut client = acceptor
                    .accept(client)
                    .await
                    .expect("TLS from the first byte");
                *agreed.lock().expect("no panic") =
                    client.get_ref().negotiated_alpn().expect("a protocol");
                let mut server = TcpStream::connect(server()).await.expect("the database");
                server.write_all(&SSL_REQUEST).await.expect("a question");
                assert_eq!(server.read_u8().await.expect("an answer"), b'S');
                let mut server = connector.connect("localhost", server).await.expect("TLS");
                // It ends as either side does, with or without a word.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
        Self { address, protocol }
    }

    /// `DATABASE_URL` by way of this server, without its parameters.
    pub fn url(&self) -> String {
        let url = database::url().expect("a DATABASE_URL");
        let location = url.split('?').next().expect("a URL");
        location.replacen(&server(), &format!("localhost:{}", self.address.port()), 1)
    }

    /// The protocol that the last client asked for.
    pub fn protocol(&self) -> Option<Vec<u8>> {
        self.protocol.lock().expect("no panic").clone()
    }
}
