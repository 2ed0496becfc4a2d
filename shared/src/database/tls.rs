//! TLS with the database: the server's chain and host name verified, and the version that was agreed on for the log, which
//! the TLS library does not tell. The server says it in the clear, in its first message, so it is read from there.

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

use crate::settings::DatabaseUrl;

/// Makes connections speak TLS.
#[derive(Clone)]
pub(super) struct Tls {
    connector: MakeTlsConnector,
    version: Arc<AtomicU16>,
}

impl Tls {
    /// Trusts the certificates in `SSL_CERT_FILE` or else the system's, and verifies the chain and the host name.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub(super) fn new(url: &DatabaseUrl) -> Result<Self, native_tls::Error> {
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

    /// The version that the last connection speaks.
    pub(super) fn version(&self) -> &'static str {
        match self.version.load(Ordering::Relaxed) {
            0x0303 => "1.2",
            0x0304 => "1.3",
            _ => "unknown",
        }
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = TlsStream<Watched>;
    type TlsConnect = Connect;
    type Error = native_tls::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, native_tls::Error> {
        Ok(Connect {
            connector: MakeTlsConnect::<Watched>::make_tls_connect(&mut self.connector, host)?,
            version: self.version.clone(),
        })
    }
}

/// Makes one connection speak TLS.
pub(super) struct Connect {
    connector: postgres_native_tls::TlsConnector,
    version: Arc<AtomicU16>,
}

impl TlsConnect<Socket> for Connect {
    type Stream = TlsStream<Watched>;
    type Error = native_tls::Error;
    type Future = <postgres_native_tls::TlsConnector as TlsConnect<Watched>>::Future;

    fn connect(self, socket: Socket) -> Self::Future {
        self.connector.connect(Watched {
            socket,
            version: Some(self.version),
        })
    }
}

/// A socket whose first message is looked into.
pub(super) struct Watched {
    socket: Socket,
    /// Where the version goes, until it is known.
    version: Option<Arc<AtomicU16>>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        if let Some(version) = self.version.take() {
            let hello = &buffer.filled()[before..];
            version.store(agreed_version(hello).unwrap_or_default(), Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
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

/// The version in a `ServerHello` (RFC 8446, 4.1.3): that of the extension `supported_versions`, or else its own.
fn agreed_version(record: &[u8]) -> Option<u16> {
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

    /// The start of a record with a `ServerHello` that has these extensions.
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
    fn the_version_is_what_the_server_says() {
        let other = [0, 11, 0, 2, 1, 0];
        let newer = [&other[..], &[0, 43, 0, 2, 3, 4]].concat();
        assert_eq!(agreed_version(&hello(&newer)), Some(0x0304));
        assert_eq!(agreed_version(&hello(&other)), Some(0x0303));
        assert_eq!(agreed_version(&hello(&[])), Some(0x0303));
        for end in 0..hello(&newer).len() {
            assert_ne!(agreed_version(&hello(&newer)[..end]), Some(0x0304), "{end}");
        }
        assert_eq!(agreed_version(b"HTTP/1.1 400 Bad Request"), None);
    }
}
