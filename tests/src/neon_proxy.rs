//! A proxy that behaves like Neon's: TLS from the first byte, its own error messages, and cancel requests that it
//! forwards after it has closed their connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_native_tls::TlsStream;

use crate::certificate::SelfSignedCertificate;
use crate::{chaos_proxy, database};

/// The request to start TLS (PostgreSQL documentation, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The start of a cancel request, after its length (PostgreSQL documentation, "Message Formats").
const CANCEL_REQUEST: [u8; 4] = [4, 210, 22, 46];

/// The delay before the proxy forwards a cancel request.
const CANCEL_DELAY: Duration = Duration::from_millis(20);

/// A proxy that listens on its own port.
pub struct NeonProxy {
    address: SocketAddr,
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connections: u64,
    /// The protocol that ALPN negotiated with the last client.
    protocol: Option<Vec<u8>>,
    /// How many connections to reject from now on.
    rejections: u64,
    /// The error message for them.
    rejection: Vec<u8>,
    cancel_requests: u64,
    drops_cancel_requests: bool,
}

impl NeonProxy {
    /// Starts a proxy with this certificate for the server of `DATABASE_URL`.
    pub async fn start(certificate: &SelfSignedCertificate) -> Self {
        Self::start_for(&database::url().expect("a DATABASE_URL"), certificate).await
    }

    /// Starts a proxy with this certificate for the server or the pooler of a connection string.
    pub async fn start_for(url: &str, certificate: &SelfSignedCertificate) -> Self {
        let mut acceptor = native_tls::TlsAcceptor::builder(certificate.identity());
        acceptor.accept_alpn(&["postgresql"]);
        let acceptor = tokio_native_tls::TlsAcceptor::from(acceptor.build().expect("an acceptor"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::<State>::default());
        let (server, shared) = (chaos_proxy::server_of(url), state.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let client = acceptor.accept(client).await;
                let client = client.expect("TLS from the first byte");
                tokio::spawn(serve(client, server.clone(), shared.clone()));
            }
        });
        Self {
            address,
            url: url.to_owned(),
            state,
        }
    }

    /// Rejects the next connections with this SQLSTATE and message.
    pub fn reject_connections(&self, times: u64, code: &str, message: &str) {
        let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
        let length = u32::try_from(4 + fields.len()).expect("a short message");
        let mut state = self.state();
        state.rejections = times;
        state.rejection = [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat();
    }

    /// Drops all further cancel requests.
    pub fn drop_cancel_requests(&self) {
        self.state().drops_cancel_requests = true;
    }

    /// The connection string with the address of this proxy.
    pub fn url(&self) -> String {
        let location = self.url.split('?').next().expect("a URL");
        let location = location.replacen(
            &chaos_proxy::server_of(&self.url),
            &format!("localhost:{}", self.address.port()),
            1,
        );
        format!("{location}?sslnegotiation=direct&channel_binding=disable")
    }

    /// The protocol that ALPN negotiated with the last client.
    pub fn negotiated_protocol(&self) -> Option<Vec<u8>> {
        self.state().protocol.clone()
    }

    /// The number of connections so far, including those of cancel requests.
    pub fn connections(&self) -> u64 {
        self.state().connections
    }

    /// The number of cancel requests so far.
    pub fn cancel_requests(&self) -> u64 {
        self.state().cancel_requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic")
}

async fn serve(mut client: TlsStream<TcpStream>, server: String, state: Arc<Mutex<State>>) {
    let rejection = {
        let mut state = lock(&state);
        state.connections += 1;
        state.protocol = client.get_ref().negotiated_alpn().expect("a protocol");
        let is_rejected = state.rejections > 0;
        state.rejections = state.rejections.saturating_sub(1);
        is_rejected.then(|| state.rejection.clone())
    };
    let length = client.read_u32().await.expect("a first message");
    let mut first = vec![0; length as usize - 4];
    client
        .read_exact(&mut first)
        .await
        .expect("the rest of the message");
    let first_message = [&length.to_be_bytes(), &first[..]].concat();
    if first.starts_with(&CANCEL_REQUEST) {
        drop(client);
        let is_dropped = {
            let mut state = lock(&state);
            state.cancel_requests += 1;
            state.drops_cancel_requests
        };
        if !is_dropped {
            sleep(CANCEL_DELAY).await;
            let mut server = connect(&server).await;
            server.write_all(&first_message).await.expect("a server");
            server.flush().await.expect("a server");
            // As libpq does: old versions of PgBouncer crash when the connection is closed before they have answered.
            let _ = server.read_u8().await;
        }
    } else if let Some(rejection) = rejection {
        client.write_all(&rejection).await.expect("a client");
        client.shutdown().await.expect("a client");
    } else {
        let mut server = connect(&server).await;
        server.write_all(&first_message).await.expect("a server");
        // A connection that breaks off is not an error here.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

async fn connect(server: &str) -> TlsStream<TcpStream> {
    let connector = native_tls::TlsConnector::new().expect("a connector");
    let connector = tokio_native_tls::TlsConnector::from(connector);
    let mut socket = TcpStream::connect(server).await.expect("the database");
    socket.write_all(&SSL_REQUEST).await.expect("the database");
    assert_eq!(socket.read_u8().await.expect("a response"), b'S');
    connector.connect("localhost", socket).await.expect("TLS")
}
