//! TLS with the database. The server's chain and host name are verified.
//!
//! The TLS library does not report the negotiated version, which is logged. The server sends it in clear text, in its first
//! message, so it is read from there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, ready};

use native_tls::{Protocol, TlsConnector};
use postgres_native_tls::{MakeTlsConnector, TlsStream, set_postgresql_alpn};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::url::DatabaseUrl;

/// Starts TLS on connections.
#[derive(Clone)]
pub struct Tls {
    connector: MakeTlsConnector,
    version: Arc<AtomicU16>,
}

impl Tls {
    /// Trusts the certificates in `SSL_CERT_FILE`, or else the system's.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn new(url: &DatabaseUrl) -> Result<Self, native_tls::Error> {
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        if url.negotiation() == SslNegotiation::Direct {
            set_postgresql_alpn(&mut builder);
        }
        Ok(Self {
            connector: MakeTlsConnector::new(builder.build()?),
            version: Arc::default(),
        })
    }

    /// The version that the last connection negotiated.
    pub(super) fn version(&self) -> &'static str {
        match self.version.load(Ordering::Relaxed) {
            0x0303 => "1.2",
            0x0304 => "1.3",
            _ => "unknown",
        }
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = TlsStream<HandshakeProbe>;
    type TlsConnect = Connect;
    type Error = native_tls::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, native_tls::Error> {
        Ok(Connect {
            connector: MakeTlsConnect::<HandshakeProbe>::make_tls_connect(
                &mut self.connector,
                host,
            )?,
            version: self.version.clone(),
        })
    }
}

/// Starts TLS on one connection.
pub struct Connect {
    connector: postgres_native_tls::TlsConnector,
    version: Arc<AtomicU16>,
}

impl TlsConnect<Socket> for Connect {
    type Stream = TlsStream<HandshakeProbe>;
    type Error = native_tls::Error;
    type Future = <postgres_native_tls::TlsConnector as TlsConnect<HandshakeProbe>>::Future;

    fn connect(self, socket: Socket) -> Self::Future {
        self.connector.connect(HandshakeProbe {
            socket,
            version: Some(self.version),
        })
    }
}

/// A socket that reads the TLS version from the server's first message.
pub struct HandshakeProbe {
    socket: Socket,
    /// Receives the version. `None` once it is known.
    version: Option<Arc<AtomicU16>>,
}

impl AsyncRead for HandshakeProbe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        if let Some(version) = self.version.take() {
            let hello = &buffer.filled()[before..];
            version.store(
                negotiated_version(hello).unwrap_or_default(),
                Ordering::Relaxed,
            );
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandshakeProbe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// The version in a `ServerHello` (RFC 8446, 4.1.3): that of the extension `supported_versions`, or else its own field.
fn negotiated_version(record: &[u8]) -> Option<u16> {
    const RECORD_AND_HANDSHAKE_HEADERS: usize = 5 + 4;
    const RANDOM: usize = 32;
    const CIPHER_SUITE_AND_COMPRESSION: usize = 2 + 1;
    const SUPPORTED_VERSIONS: u16 = 43;

    let mut hello = record.get(RECORD_AND_HANDSHAKE_HEADERS..)?;
    let version = take_u16(&mut hello)?;
    hello = hello.get(RANDOM..)?;
    let session_id = usize::from(*hello.first()?);
    hello = hello.get(1 + session_id + CIPHER_SUITE_AND_COMPRESSION..)?;
    let mut extensions = match take_u16(&mut hello) {
        Some(length) => hello.get(..length.into())?,
        None => return Some(version),
    };
    while let Some(kind) = take_u16(&mut extensions) {
        let length = take_u16(&mut extensions)?;
        let mut extension = extensions.get(..length.into())?;
        if kind == SUPPORTED_VERSIONS {
            return take_u16(&mut extension);
        }
        extensions = &extensions[length.into()..];
    }
    Some(version)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a record that holds a `ServerHello` with these extensions.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let length = u16::try_from(extensions.len())
            .expect("short")
            .to_be_bytes();
        let parts: [&[u8]; 7] = [
            &[22, 3, 3, 0, 0, 2, 0, 0, 0, 3, 3],
            &[7; 32],
            &[2, 9, 9],
            &[0x13, 1],
            &[0],
            &length,
            extensions,
        ];
        parts.concat()
    }

    #[test]
    fn the_version_is_read_from_the_server_hello() {
        let other = [0, 11, 0, 2, 1, 0];
        let newer = [&other[..], &[0, 43, 0, 2, 3, 4]].concat();
        assert_eq!(negotiated_version(&hello(&newer)), Some(0x0304));
        assert_eq!(negotiated_version(&hello(&other)), Some(0x0303));
        assert_eq!(negotiated_version(&hello(&[])), Some(0x0303));
        for end in 0..hello(&newer).len() {
            assert_ne!(
                negotiated_version(&hello(&newer)[..end]),
                Some(0x0304),
                "{end}"
            );
        }
        assert_eq!(negotiated_version(b"HTTP/1.1 400 Bad Request"), None);
    }
}
